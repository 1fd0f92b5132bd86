#!/bin/sh
# Compiles a CUDA source and keeps what the assembler says of its kernels (`ptxas -v`: registers, spills,
# shared memory) beside the object, where the test of the kernels' budget reads it.
#   with_report.sh COMPILER ARGUMENT... -o OBJECT ...
for argument; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
"$@" -Xptxas -v 2>"$object.log"
code=$?
# Lines that are not of the report are the compiler's own: they go on.
report='^ptxas info|^ +[0-9]+ bytes stack frame|^$'
grep -E "$report" "$object.log" >"$object.ptxas"
grep -vE "$report" "$object.log" >&2
rm -f "$object.log"
exit $code

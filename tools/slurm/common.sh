# What the job scripts share; read by them, not run by itself. Environment: DATA, RUN, SET, BUILD (see
# README.md).
: "${DATA:?the patch store, such as --export=ALL,DATA=store,RUN=run}"
: "${RUN:?the run folder, such as --export=ALL,DATA=store,RUN=run}"
[[ -z ${BUILD:-} ]] || PATH=$BUILD:$PATH
command -v unetd-train > /dev/null || { echo "no unetd-train on the PATH; set BUILD to its folder" >&2; exit 1; }

# As many threads as the job has been given, for the computation and for reading patches.
cpus=${SLURM_CPUS_PER_TASK:-$(nproc)}
arguments=(--data "$DATA" --out "$RUN" --threads "$cpus" --set data.threads="$((cpus > 4 ? 4 : cpus))")
for setting in ${SET:-}; do arguments+=(--set "$setting"); done
[[ ! -e $RUN/last.ckpt ]] || arguments+=(--resume)

// The data that tests and benchmarks run problems on, from fixed seeds.
#pragma once

#include "engine/base/half.h"
#include "engine/base/rng.h"
#include "tests/support/cases.h"

#include <algorithm>
#include <vector>

namespace unetd {

// The content of a problem's buffers as dense host tensors. An output that is not in place starts
// empty.
struct HostData {
  std::vector<Tensor> in, out;
};

// Calls f(T{}) with the C++ type of the elements.
template <class F>
void with_element(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    case DType::f16:
      return f(f16{});
    case DType::i32:
      return f(int32_t{});
    case DType::i64:
      return f(int64_t{});
    case DType::i16:
      return f(int16_t{});
    case DType::u16:
      return f(uint16_t{});
    default:
      UNETD_CHECK(dtype == DType::u8, "element type ", name_of(dtype));
      return f(uint8_t{});
  }
}

template <class T>
constexpr bool is_16_bit_float = std::is_same_v<T, bf16> || std::is_same_v<T, f16>;

// A number as an element, rounded, and back.
template <class T>
T element_of(double value) {
  if constexpr (is_16_bit_float<T>) {
    return from_float<T>(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}
template <class T>
double value_of(T element) {
  if constexpr (is_16_bit_float<T>) {
    return to_float(element);
  } else {
    return static_cast<double>(element);
  }
}

// The elements as double, whatever the type.
inline std::vector<double> doubles(const Tensor& t) {
  std::vector<double> values;
  with_element(t.dtype(), [&]<class T>(T) {
    const std::span<const T> from = t.span<T>();
    values.resize(from.size());
    std::ranges::transform(from, values.begin(), value_of<T>);
  });
  return values;
}

inline double draw(const Fill& fill, size_t i, Rng& rng) {
  const auto integer = [&] {
    return fill.low + rng.below(static_cast<uint32_t>(fill.high - fill.low) + 1);
  };
  switch (fill.rule) {
    case Fill::Rule::integers:
      return integer();
    case Fill::Rule::fractions:
      return integer() / fill.high;
    case Fill::Rule::labels: {
      const uint32_t dice = rng.below(16);
      return dice == 0 ? 255 : dice == 1 ? fill.high + 1 : integer();
    }
    case Fill::Rule::list:
      return fill.values[i];
    default:
      return rng.uniform(static_cast<float>(fill.low), static_cast<float>(fill.high));
  }
}

// Different streams give different numbers.
inline Tensor filled(const BufferSpec& spec, uint64_t stream) {
  Tensor t(spec.shape, spec.dtype);
  Rng rng(1, stream);
  with_element(spec.dtype, [&]<class T>(T) {
    const std::span<T> to = t.span<T>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = element_of<T>(draw(spec.fill, i, rng));
  });
  return t;
}

// For every input, and for the outputs in place.
inline HostData make_data(const Signature& signature) {
  HostData data;
  uint64_t stream = 0;
  for (const BufferSpec& spec : signature.in) data.in.push_back(filled(spec, ++stream));
  for (const BufferSpec& spec : signature.out) {
    ++stream;
    data.out.push_back(spec.in_place ? filled(spec, stream) : Tensor{});
  }
  return data;
}

// The same values in another element type.
inline Tensor converted(const Tensor& from, DType dtype) {
  if (from.empty() || from.dtype() == dtype) return from.clone();
  const std::vector<double> values = doubles(from);
  Tensor to(from.shape(), dtype);
  with_element(dtype, [&]<class T>(T) {
    std::ranges::transform(values, to.span<T>().begin(), element_of<T>);
  });
  return to;
}

inline HostData converted(const HostData& data, const Signature& signature) {
  HostData result;
  const auto convert = [](const std::vector<Tensor>& from, const std::vector<BufferSpec>& specs,
                          std::vector<Tensor>& to) {
    for (size_t i = 0; i < from.size(); ++i) to.push_back(converted(from[i], specs[i].dtype));
  };
  convert(data.in, signature.in, result.in);
  convert(data.out, signature.out, result.out);
  return result;
}

}  // namespace unetd

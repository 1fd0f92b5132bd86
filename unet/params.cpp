#include "unet/params.h"

#include "engine/base/rng.h"
#include "engine/op/cast.h"

#include <algorithm>
#include <utility>

namespace unetd {

void Params::declare(ParamSpec spec) {
  UNETD_CHECK(!allocated(), spec.name, " is declared after the parameters were allocated");
  if (const auto known = index_.find(spec.name); known != index_.end()) {
    UNETD_CHECK(specs_[known->second].shape == spec.shape, spec.name, " is declared as ",
                specs_[known->second].shape, " and as ", spec.shape);
    return;
  }
  index_.emplace(spec.name, specs_.size());
  specs_.push_back(std::move(spec));
}

void Params::allocate(DeviceType device) {
  device_ = device;
  const auto place = [&](ParamRole role, int64_t start) {
    int64_t next = start;
    for (ParamSpec& s : specs_) {
      if (s.role != role) continue;
      s.offset = next;
      const int64_t count = storage_count(layout_of(device), s.kind, s.shape);
      next += (count + block - 1) / block * block;  // each starts on a cache line
    }
    return next - start;
  };
  weight_elements_ = place(ParamRole::weight, 0);
  vector_elements_ = place(ParamRole::vector, weight_elements_);
  statistic_elements_ = place(ParamRole::statistic, 0);
  const auto take = [&](int64_t elements) {
    return std::make_shared<Buffer>(device, static_cast<size_t>(elements) * sizeof(float));
  };
  staging_ = std::make_shared<Staging>(device);
  values_ = take(trained_elements());
  statistics_ = take(statistic_elements_);
}

void Params::initialise(uint64_t seed) {
  for (size_t i = 0; i < specs_.size(); ++i) {
    const ParamSpec& s = specs_[i];
    Tensor start(s.shape, DType::f32);
    Rng rng(seed, i);
    for (float& x : start.span<float>()) {
      x = s.bound > 0       ? rng.uniform(-s.bound, s.bound)
          : s.deviation > 0 ? s.deviation * rng.normal()
                            : s.constant;
    }
    write(s.name, start);
  }
}

const ParamSpec& Params::spec(std::string_view name) const {
  const auto found = index_.find(name);
  UNETD_CHECK(found != index_.end(), "the model has no parameter ", name);
  return specs_[found->second];
}

int64_t Params::trained_count() const {
  int64_t sum = 0;
  for (const ParamSpec& s : specs_) sum += s.role == ParamRole::statistic ? 0 : s.count();
  return sum;
}

std::shared_ptr<Buffer> Params::gradients() {
  if (!gradients_) gradients_ = std::make_shared<Buffer>(device_, values_->bytes());
  return gradients_;
}

Params Params::with_buffers(std::shared_ptr<Buffer> values,
                            std::shared_ptr<Buffer> statistics) const {
  UNETD_CHECK(values->bytes() == values_->bytes() && statistics->bytes() == statistics_->bytes(),
              "flat buffers of different layouts");
  Params other = *this;
  other.values_ = std::move(values);
  other.statistics_ = std::move(statistics);
  other.filters_ = nullptr;
  return other;
}

void Params::record_filters(Graph& g, DType type) {
  if (type == DType::f32 || !allocated()) return;
  const size_t bytes = static_cast<size_t>(weight_elements_) * size_of(type);
  if (!filters_ || filters_->bytes() != bytes) {
    filters_ = std::make_shared<Buffer>(device_, bytes);
  }
  const Shape all{1, 1, 1, weight_elements_};  // the offsets of values() hold in the copy, too
  g.emit(Cast{all, Kind::dense, DType::f32, type},
         {g.external(values_, 0, all, DType::f32, "filters")},
         {g.external(filters_, 0, all, type, str("filters.", name_of(type)))});
}

Value Params::bind(Graph& g, std::string_view name, bool trainable, DType filters) {
  const ParamSpec& s = spec(name);
  const bool rounded = s.role == ParamRole::weight && filters != DType::f32;
  const DType type = rounded ? filters : DType::f32;
  // While a model is only being described there is no memory to point to yet.
  if (!allocated()) return g.value(s.shape, type, s.name, s.kind);
  const Value v = g.external(rounded ? filters_ : home(s), s.offset, s.shape, type, s.name, s.kind);
  if (trainable && s.role != ParamRole::statistic) {
    g.require_grad(
        v, g.external(gradients(), s.offset, s.shape, DType::f32, s.name + ".grad", s.kind));
  }
  return v;
}

size_t Params::storage_bytes(const ParamSpec& s) const {
  return static_cast<size_t>(storage_count(layout_of(device_), s.kind, s.shape)) * sizeof(float);
}

Tensor Params::read_from(const Buffer& flat, const ParamSpec& s) const {
  const Layout layout = layout_of(device_);
  return staging_->download(
      flat.data() + static_cast<size_t>(s.offset) * sizeof(float), storage_bytes(s),
      [&](const std::byte* host) { return unpack(host, s.kind, layout, s.shape, DType::f32); });
}

void Params::write_to(Buffer& flat, const ParamSpec& s, const Tensor& tensor) const {
  UNETD_CHECK(tensor.shape() == s.shape && tensor.dtype() == DType::f32, s.name, " has shape ",
              s.shape, ", given ", tensor.shape());
  const Layout layout = layout_of(device_);
  staging_->upload(flat.data() + static_cast<size_t>(s.offset) * sizeof(float), storage_bytes(s),
                   [&](std::byte* host) { pack(tensor, s.kind, layout, host); });
}

Tensor Params::read(std::string_view name) const {
  const ParamSpec& s = spec(name);
  return read_from(*home(s), s);
}

void Params::write(std::string_view name, const Tensor& tensor) {
  const ParamSpec& s = spec(name);
  write_to(*home(s), s, tensor);
}

}  // namespace unetd

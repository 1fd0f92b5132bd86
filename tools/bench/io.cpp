#include "tools/bench/io.h"

#include "engine/base/error.h"
#include "engine/device/timing.h"
#include "io/loader.h"
#include "io/patch_store.h"
#include "io/product.h"
#include "io/scene.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace unetd::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class File {
 public:
  explicit File(fs::path path)
      : path_(std::move(path)), descriptor_(open(path_.c_str(), O_RDONLY)) {
    if (descriptor_ < 0) fail("open");
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  size_t size() const { return fs::file_size(path_); }

  // Asks the system to forget the file's pages, and returns the share that it kept.
  double drop() const {
    fdatasync(descriptor_);  // what is yet to be written cannot be dropped
    if (posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED) != 0) fail("drop the pages of");
    if (size() == 0) return 0;
    void* const map = mmap(nullptr, size(), PROT_READ, MAP_SHARED, descriptor_, 0);
    if (map == MAP_FAILED) fail("map");
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> resident((size() + page - 1) / page);
    const bool known = mincore(map, size(), resident.data()) == 0;
    munmap(map, size());
    if (!known) fail("ask for the pages of");
    const auto kept = std::ranges::count_if(resident, [](unsigned char r) { return (r & 1) != 0; });
    return static_cast<double>(kept) / static_cast<double>(resident.size());
  }

  void read_through(std::vector<std::byte>& buffer) const {
    for (off_t at = 0;;) {
      const ssize_t got = pread(descriptor_, buffer.data(), buffer.size(), at);
      if (got < 0) fail("read");
      if (got == 0) return;
      at += got;
    }
  }

 private:
  [[noreturn]] void fail(const char* verb) const {
    throw UserError(
        str("cannot ", verb, ' ', path_.string(), ": ", std::generic_category().message(errno)));
  }

  fs::path path_;
  int descriptor_;
};

std::vector<fs::path> shards_of(const io::PatchStore& store) {
  std::vector<fs::path> files;
  for (const io::ShardRecord& shard : store.schema().shards)
    files.push_back(store.path() / shard.file);
  return files;
}

double drop(const std::vector<fs::path>& files) {
  double kept = 0;
  for (const fs::path& file : files) kept = std::max(kept, File(file).drop());
  return kept;
}

Rate time_disk(const std::vector<fs::path>& files, const char* what) {
  constexpr size_t at_once = size_t{8} << 20;
  std::vector<std::byte> buffer(at_once);
  Rate rate{.what = what, .unit = "shards"};
  rate.seconds = seconds_of([&] {
    for (const fs::path& path : files) {
      const File file(path);
      file.read_through(buffer);
      rate.bytes += static_cast<double>(file.size());
      ++rate.items;
    }
  });
  return rate;
}

// The split with the most patches.
io::Split largest_split(const io::PatchStore& store) {
  return std::max(
      {io::Split::train, io::Split::valid, io::Split::test},
      [&](io::Split a, io::Split b) { return store.indices(a).size() < store.indices(b).size(); });
}

io::LoaderOptions loader_options(const IoOptions& options, int threads, bool augmented) {
  io::LoaderOptions o;
  o.batch = options.batch;
  o.shuffle = true;
  o.tail = io::LoaderOptions::Tail::pad;
  o.threads = threads;
  if (augmented)
    o.augmentation = {.flips = true,
                      .quarter_turns = true,
                      .erasing = 0.5,
                      .erased_side = 0.5,
                      .band_dropout = 0.1,
                      .brightness = 0.1,
                      .band_noise = 0.1};
  return o;
}

// A pass over the split or `seconds` of it; from memory, passes until the time is over.
Rate time_loader(const io::PatchStore& store, const io::LoaderOptions& how, double seconds,
                 bool one_pass, const char* what) {
  Rate rate{.what = what, .threads = how.threads, .unit = "patches"};
  io::Loader loader(store, largest_split(store), how);
  const Clock::time_point start = Clock::now();
  int64_t batches = 0;
  do {
    const io::Batch batch = loader.next();
    const size_t bytes = batch.image.bytes() + batch.label.bytes() + batch.valid.bytes();
    rate.items += static_cast<double>(batch.filled);
    rate.bytes += static_cast<double>(bytes) * static_cast<double>(batch.filled) /
                  static_cast<double>(how.batch);
    ++batches;
  } while (since(start) < seconds && (!one_pass || batches < loader.batches_per_epoch()));
  rate.seconds = since(start);
  return rate;
}

void time_store(const IoOptions& options, double& held,
                const std::function<void(const Rate&)>& done) {
  const io::PatchStore store = io::PatchStore::open(options.store);
  const std::vector<fs::path> files = shards_of(store);
  held = drop(files);
  done(time_disk(files, "disk, cold"));
  done(time_disk(files, "disk, cached"));
  for (const int threads : options.threads) {
    held = std::max(held, drop(files));
    const io::PatchStore fresh = io::PatchStore::open(options.store);
    done(time_loader(fresh, loader_options(options, threads, false), options.seconds, true,
                     "loader, cold"));
  }
  store.verify();
  for (const int threads : options.threads)
    for (const bool augmented : {false, true})
      done(time_loader(store, loader_options(options, threads, augmented), options.seconds, false,
                       augmented ? "loader, augmented" : "loader, cached"));
}

// One band, so that a thread decodes one file at a time.
io::Scene open_band(const fs::path& path) {
  io::SceneOptions options;
  if (io::find_product(path)) options.bands = {"B02"};
  return io::Scene::open(path, options);
}

Rate time_decoding(const fs::path& path, int threads, double seconds) {
  constexpr int64_t block = 1024;
  std::vector<io::Scene> scenes;
  scenes.reserve(static_cast<size_t>(threads));
  for (int i = 0; i < threads; ++i) scenes.push_back(open_band(path));
  const io::Grid grid = scenes.front().grid();
  const int64_t columns = (grid.width + block - 1) / block;
  const int64_t blocks = columns * ((grid.height + block - 1) / block);
  std::atomic<int64_t> next = 0, pixels = 0;
  std::mutex failing;
  std::exception_ptr failure;
  const Clock::time_point start = Clock::now();
  {
    std::vector<std::jthread> workers;
    workers.reserve(scenes.size());
    for (const io::Scene& scene : scenes)
      workers.emplace_back([&] {
        try {
          for (int64_t i = next++; i < blocks && since(start) < seconds; i = next++) {
            const io::Window window = intersection(
                {i % columns * block, i / columns * block, block, block}, grid.whole());
            scene.read(window);
            pixels += window.width * window.height;
          }
        } catch (...) {
          const std::lock_guard lock(failing);
          failure = std::current_exception();
        }
      });
  }
  if (failure) std::rethrow_exception(failure);
  const auto samples = static_cast<double>(pixels * std::ssize(scenes.front().bands()));
  return {.what = "decoding",
          .threads = threads,
          .unit = "Mpixels",
          .items = samples / 1e6,
          .bytes = samples * static_cast<double>(size_of(scenes.front().dtype())),
          .seconds = since(start)};
}

}  // namespace

void time_io(const IoOptions& options, double& held, const std::function<void(const Rate&)>& done) {
  if (!options.store.empty()) time_store(options, held, done);
  if (options.scene.empty()) return;
  for (const int threads : options.threads)
    done(time_decoding(options.scene, threads, options.seconds));
}

}  // namespace unetd::bench

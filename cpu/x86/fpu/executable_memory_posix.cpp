// ExecutableMemory on mmap() and mremap().

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "cpu/x86/fpu/executable_memory.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

namespace droste {

namespace {

constexpr std::size_t kWindowBytes = std::size_t{64} << 10;

void* map_shared_anonymous(std::size_t bytes) {
    return mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
}

void* map_memfd(std::size_t bytes) {
    const int fd = memfd_create("droste-thunks", MFD_CLOEXEC);
    if (fd < 0) {
        return MAP_FAILED;
    }
    void* executable = MAP_FAILED;
    if (ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
        executable = mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    }
    close(fd);
    return executable;
}

// Makes the pages from `executable` on writable at `window`, too.
bool open_window(u8* executable, std::size_t bytes, u8* window) {
    return mremap(executable, 0, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, window) == window &&
           mprotect(window, bytes, PROT_READ | PROT_WRITE) == 0;
}

// Nothing but a reservation is at `window` afterwards.
bool close_window(u8* window) {
    return mmap(window, kWindowBytes, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == window;
}

}  // namespace

Expected<ExecutableMemory> ExecutableMemory::create_from(Source source, std::size_t bytes) {
    ExecutableMemory memory;
    const std::size_t size = align_up<std::size_t>(bytes, kPageBytes);
    void* executable =
        source == Source::SharedAnonymous ? map_shared_anonymous(size) : map_memfd(size);
    if (executable != MAP_FAILED) {
        memory.executable_ = static_cast<u8*>(executable);
        memory.bytes_ = size;
        void* window = mmap(nullptr, kWindowBytes, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (window != MAP_FAILED) {
            memory.window_ = static_cast<u8*>(window);
            // Tried once here, so that append() can rely on it.
            if (open_window(memory.executable_, kPageBytes, memory.window_) &&
                close_window(memory.window_)) {
                return memory;
            }
        }
    }
    return Error{.message =
                     fmt::format("no {} MiB of executable memory from the native machine ({})",
                                 size >> 20, std::strerror(errno)),
                 .native = true};
}

Expected<ExecutableMemory> ExecutableMemory::create(std::size_t bytes) {
    auto memory = create_from(Source::SharedAnonymous, bytes);
    return memory ? std::move(memory) : create_from(Source::Memfd, bytes);
}

ExecutableMemory::ExecutableMemory(ExecutableMemory&& other) noexcept
    : bytes_(other.bytes_)
    , used_(other.used_)
    , executable_(std::exchange(other.executable_, nullptr))
    , window_(std::exchange(other.window_, nullptr)) {}

ExecutableMemory::~ExecutableMemory() {
    if (executable_ != nullptr) {
        munmap(executable_, bytes_);
    }
    if (window_ != nullptr) {
        munmap(window_, kWindowBytes);
    }
}

const u8* ExecutableMemory::append(std::span<const u8> code) {
    DROSTE_ASSERT(used_ + code.size() <= bytes_);
    const std::size_t page = used_ & ~(kPageBytes - 1);
    const std::size_t offset = used_ - page;
    const auto span = align_up<std::size_t>(offset + code.size(), kPageBytes);
    DROSTE_ASSERT(span <= kWindowBytes);
    const bool opened = open_window(executable_ + page, span, window_);
    DROSTE_ASSERT(opened);  // it did in create(), and takes no address space
    std::memcpy(window_ + offset, code.data(), code.size());
    const bool closed = close_window(window_);
    DROSTE_ASSERT(closed);
    const u8* entry = executable_ + used_;
    used_ = align_up<std::size_t>(used_ + code.size(), 16);
    return entry;
}

}  // namespace droste

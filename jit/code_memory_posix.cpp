#include "core/bits.hpp"
#include "jit/code_memory.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <linux/mman.h>
#include <sys/mman.h>

namespace droste::jit {

namespace {

// Shared memory that begins at a multiple of kLargePageBytes.
void* map_aligned(std::size_t size) {
    constexpr std::size_t kLarge = CodeMemory::kLargePageBytes;
    void* reserved =
        mmap(nullptr, size + kLarge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
        return MAP_FAILED;
    }
    const auto first = reinterpret_cast<std::uintptr_t>(reserved);
    const std::size_t before = align_up<std::uintptr_t>(first, kLarge) - first;
    u8* const at = static_cast<u8*>(reserved) + before;
    if (before != 0) {
        munmap(reserved, before);
    }
    if (before != kLarge) {
        munmap(at + size, kLarge - before);
    }
    void* mapped = mmap(at, size, PROT_READ | PROT_EXEC,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (mapped == MAP_FAILED) {
        munmap(at, size);
    }
    return mapped;
}

}  // namespace

// The second view is a duplicate of shared memory, which needs no file descriptor.
Expected<CodeMemory> CodeMemory::create(std::size_t bytes) {
    CodeMemory memory;
    const std::size_t size = align_up<std::size_t>(bytes, kPageBytes);
    void* executable = map_aligned(size);
    if (executable != MAP_FAILED) {
        memory.executable_ = static_cast<u8*>(executable);
        memory.bytes_ = size;
        void* writable = mremap(executable, 0, size, MREMAP_MAYMOVE);
        if (writable != MAP_FAILED) {
            memory.writable_ = static_cast<u8*>(writable);
            if (mprotect(writable, size, PROT_READ | PROT_WRITE) == 0) {
                return memory;
            }
        }
    }
    return Error{.message = fmt::format("no {} MiB of executable memory for translated code from "
                                        "the native machine ({}): -accel interp does without",
                                        size >> 20, std::strerror(errno)),
                 .native = true};
}

// A native kernel that does not know the request refuses it, and small pages do as well.
void CodeMemory::written([[maybe_unused]] std::size_t first, [[maybe_unused]] std::size_t end) {
#ifdef MADV_COLLAPSE
    if (first / kLargePageBytes != end / kLargePageBytes) {
        for (const std::size_t at : {first, end}) {
            const std::size_t page = at / kLargePageBytes * kLargePageBytes;
            if (page + kLargePageBytes <= bytes_) {
                (void)madvise(executable_ + page, kLargePageBytes, MADV_COLLAPSE);
            }
        }
    }
#endif
}

CodeMemory::CodeMemory(CodeMemory&& other) noexcept
    : executable_(std::exchange(other.executable_, nullptr))
    , writable_(std::exchange(other.writable_, nullptr))
    , bytes_(other.bytes_) {}

CodeMemory::~CodeMemory() {
    if (executable_ != nullptr) {
        munmap(executable_, bytes_);
    }
    if (writable_ != nullptr) {
        munmap(writable_, bytes_);
    }
}

}  // namespace droste::jit

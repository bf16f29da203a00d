#include "core/bits.hpp"
#include "jit/code_memory.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <sys/mman.h>

namespace droste::jit {

// The second view is a duplicate of shared memory, which needs no file descriptor.
Expected<CodeMemory> CodeMemory::create(std::size_t bytes) {
    CodeMemory memory;
    const std::size_t size = align_up<std::size_t>(bytes, kPageBytes);
    void* executable = mmap(nullptr, size, PROT_READ | PROT_EXEC,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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

// The double mapping of ExecutableMemory: one memfd, one PROT_WRITE and one PROT_EXEC view of it.

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "cpu/x86/fpu/executable_memory.hpp"

#include <cstring>

#include <sys/mman.h>
#include <unistd.h>

namespace droste {

ExecutableMemory::ExecutableMemory(std::size_t bytes)
    : bytes_(align_up<std::size_t>(bytes, kPageBytes)) {
    const int fd = memfd_create("droste-thunks", MFD_CLOEXEC);
    DROSTE_ASSERT(fd >= 0);
    DROSTE_ASSERT(ftruncate(fd, static_cast<off_t>(bytes_)) == 0);
    void* writable = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* executable = mmap(nullptr, bytes_, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    DROSTE_ASSERT(writable != MAP_FAILED && executable != MAP_FAILED);
    close(fd);
    writable_ = static_cast<u8*>(writable);
    executable_ = static_cast<const u8*>(executable);
}

ExecutableMemory::~ExecutableMemory() {
    munmap(writable_, bytes_);
    munmap(const_cast<u8*>(executable_), bytes_);
}

const u8* ExecutableMemory::append(std::span<const u8> code) {
    DROSTE_ASSERT(used_ + code.size() <= bytes_);
    std::memcpy(writable_ + used_, code.data(), code.size());
    const u8* entry = executable_ + used_;
    used_ = align_up<std::size_t>(used_ + code.size(), 16);
    return entry;
}

}  // namespace droste

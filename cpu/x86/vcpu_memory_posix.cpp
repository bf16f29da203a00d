// Where a vCPU lies: on pages of its own, above room for the frames of signals.

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "cpu/x86/vcpu.hpp"

#include <sys/mman.h>

namespace droste {

namespace {

constexpr std::size_t kSignalRoom = std::size_t{128} << 10;  // committed only where it is touched

}  // namespace

void* Vcpu::operator new(std::size_t bytes) {
    const std::size_t all = kSignalRoom + align_up<std::size_t>(bytes, kPageBytes);
    void* memory = mmap(nullptr, all, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    DROSTE_ASSERT(memory != MAP_FAILED);
    return static_cast<u8*>(memory) + kSignalRoom;
}

void Vcpu::operator delete(void* memory, std::size_t bytes) {
    munmap(static_cast<u8*>(memory) - kSignalRoom,
           kSignalRoom + align_up<std::size_t>(bytes, kPageBytes));
}

}  // namespace droste

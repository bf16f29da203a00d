#pragma once
#include "cpu/x86/vcpu.hpp"

#include <array>
#include <cstdint>

namespace droste::jit {

// What an empty slot of a kernel's stack holds. The check of an access takes any page for one that
// is reached by some address, and ~0 would be reached by a null pointer with a small displacement;
// so it is one whose addresses are not canonical.
// QUIRK(empty-page-slot): what reaches it all the same reads zeros and writes to nobody's page,
// where it should fault.
struct EmptySlot {
    alignas(kPageBytes) std::array<u8, kPageBytes> nobodys{};

    TranslatedCode::PageSlot slot() {
        constexpr u64 kPage = 0x5A5A'5A5A'5A5A'5000;
        return {.page = kPage, .addend = reinterpret_cast<std::uintptr_t>(nobodys.data()) - kPage};
    }
};

}  // namespace droste::jit

#pragma once
// What the loader tests share: a machine's view for the loaders, and reading back what a plan
// places.

#include "core/types.hpp"
#include "frontends/machine/boot_plan.hpp"

#include <cstring>
#include <optional>
#include <span>
#include <string>

namespace droste::test {

inline constexpr u64 kMiB = u64{1} << 20;

inline BootEnvironment environment_with(u64 low_bytes) {
    BootEnvironment environment;
    environment.low_bytes = low_bytes;
    environment.acpi_rsdp = 0xF'0000;
    environment.seed = std::vector<u8>(32, 0x5A);
    return environment;
}

// The byte a plan puts at `address`; nullopt where it places nothing.
inline std::optional<u8> byte_at(const BootPlan& plan, PhysAddr address) {
    std::optional<u8> found;
    for (const BootPlan::Chunk& chunk : plan.chunks()) {
        if (address >= chunk.first && address - chunk.first < chunk.bytes.size()) {
            found = chunk.bytes[address - chunk.first];
        } else if (address >= chunk.first &&
                   address - chunk.first < chunk.bytes.size() + chunk.zero_bytes) {
            found = u8{0};
        }
    }
    return found;
}

inline u64 value_at(const BootPlan& plan, PhysAddr address, unsigned width) {
    u64 value = 0;
    for (unsigned i = 0; i < width; ++i) {
        value |= static_cast<u64>(byte_at(plan, address + i).value_or(0)) << (8 * i);
    }
    return value;
}

inline std::string string_at(const BootPlan& plan, PhysAddr address) {
    std::string text;
    for (u8 c = 0; (c = byte_at(plan, address + text.size()).value_or(0)) != 0;) {
        text.push_back(static_cast<char>(c));
    }
    return text;
}

}  // namespace droste::test

#pragma once
// The guest-event log behind `-d ITEMS -D FILE`. One Log a machine; a disabled category costs one
// test.

#include "core/types.hpp"

#include <array>
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

namespace droste {

// Names are what `-d` takes (log.cpp holds the names and the sentence `-d help` prints).
enum class LogCategory : u8 {
    GuestErrors,    // guest_errors: accesses to nothing, bad sizes, reserved values
    Interrupts,     // int: exceptions and interrupts as they are delivered
    InAsm,          // in_asm: guest code, each block as it is decoded and as it is translated
    Exec,           // exec: each block as it is entered
    CpuReset,       // cpu_reset: state at reset and at shutdown
    Mmu,            // mmu: page faults and TLB flushes
    Unimplemented,  // unimp: what the guest asked for and the machine does not have
    Io,             // io: port and MMIO accesses that reach a device, after they did
    Apic,           // apic: interrupt messages
    Vmx,            // vmx: failed VMX instructions and VM entries, each with its check
    OutAsm,         // out_asm: native code of each translation
    Op,             // op: what became of each instruction of a translation
    kCount,
};

class Log {
  public:
    bool enabled(LogCategory category) const {
        return (mask_ & (1U << static_cast<unsigned>(category))) != 0;
    }
    void enable(LogCategory category) { mask_ |= 1U << static_cast<unsigned>(category); }
    // Borrows `sink`; nullptr means stderr.
    void set_sink(std::FILE* sink) { sink_ = sink; }

    // Counts always; prints when the category is enabled.
    template <typename... Args>
    void write(LogCategory category, fmt::format_string<Args...> format, Args&&... args) {
        ++counts_[static_cast<std::size_t>(category)];
        if (enabled(category)) {
            print(category, fmt::format(format, std::forward<Args>(args)...));
        }
    }
    u64 count(LogCategory category) const { return counts_[static_cast<std::size_t>(category)]; }

    // "guest_errors" etc.; false when `name` is unknown.
    bool enable_by_name(std::string_view name);
    static std::string_view name_of(LogCategory category);
    static std::string_view describe(LogCategory category);

  private:
    void print(LogCategory category, std::string_view line);

    u32 mask_ = 0;
    std::FILE* sink_ = nullptr;
    std::array<u64, static_cast<std::size_t>(LogCategory::kCount)> counts_{};
};

}  // namespace droste

#include "cpu/vmx/exit/msr_lists.hpp"

#include "core/log.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/msr.hpp"

#include <algorithm>

namespace droste {

namespace {

constexpr u32 kX2apicFirst = 0x800, kX2apicLast = 0x8FF;
constexpr u32 kFsBase = 0xC000'0100, kGsBase = 0xC000'0101;
constexpr u32 kSmmMonitorCtl = 0x9B, kSmbase = 0x9E;
constexpr u32 kBiosUpdateTrigger = 0x79, kBiosSignId = 0x8B;

bool x2apic(u32 index) {
    return index >= kX2apicFirst && index <= kX2apicLast;
}

// "Loading MSRs": entries that fail whatever the value.
bool load_forbidden(u32 index) {
    return index == kFsBase || index == kGsBase || x2apic(index) || index == kSmmMonitorCtl ||
           index == kBiosUpdateTrigger || index == kBiosSignId;
}

struct Entry {
    u32 index = 0;
    u32 reserved = 0;
    PhysAddr value_at = 0;
};

Entry read_entry(Vcpu& cpu, PhysAddr list, u32 number) {
    const PhysAddr at = list + u64{number} * 16;
    const u64 head = read_physical(cpu, at, 8);
    return {static_cast<u32>(head), static_cast<u32>(head >> 32), at + 8};
}

}  // namespace

bool set_msr_quietly(Vcpu& cpu, u32 index, u64 value) {
    return write_msr(cpu, index, value) == Status::Next;
}

bool get_msr_quietly(Vcpu& cpu, u32 index, u64& value) {
    return read_msr(cpu, index, value) == Status::Next;
}

u32 load_msr_list(VmxState& vmx, PhysAddr list, u32 count) {
    Vcpu& cpu = vmx.cpu;
    for (u32 i = 0; i < std::min(count, kMaxMsrListEntries + 1); ++i) {
        const Entry entry = read_entry(cpu, list, i);
        const u64 value = read_physical(cpu, entry.value_at, 8);
        if (i == kMaxMsrListEntries || load_forbidden(entry.index) || entry.reserved != 0 ||
            !set_msr_quietly(cpu, entry.index, value)) {
            cpu.log.write(
                LogCategory::Vmx,
                "vCPU {}: MSR-load area {:#x}: entry {} cannot be loaded: MSR {:#x} := {:#x}",
                cpu.index, list, i + 1, entry.index, value);
            return i + 1;
        }
    }
    return 0;
}

bool store_msr_list(VmxState& vmx, PhysAddr list, u32 count) {
    Vcpu& cpu = vmx.cpu;
    for (u32 i = 0; i < std::min(count, kMaxMsrListEntries + 1); ++i) {
        const Entry entry = read_entry(cpu, list, i);
        u64 value = 0;
        if (i == kMaxMsrListEntries || x2apic(entry.index) || entry.index == kSmbase ||
            entry.reserved != 0 || !get_msr_quietly(cpu, entry.index, value)) {
            cpu.log.write(LogCategory::Vmx,
                          "vCPU {}: MSR-store area {:#x}: entry {} cannot be stored: MSR {:#x}",
                          cpu.index, list, i + 1, entry.index);
            return false;
        }
        write_physical(cpu, entry.value_at, 8, value);
    }
    return true;
}

}  // namespace droste

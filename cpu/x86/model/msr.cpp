// RDMSR and WRMSR over the rows. SDM Vol. 2B, "RDMSR—Read From Model Specific Register"; Vol. 2D,
// "WRMSR—Write to Model Specific Register".

#include "cpu/x86/model/msr.hpp"

#include "core/assert.hpp"
#include "core/bits.hpp"
#include "core/clock.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/vcpu.hpp"

#include <algorithm>
#include <array>

namespace droste {

MsrStore::MsrStore(const CpuFeatures& features) : has_monitor_(features.has(Feature::MONITOR)) {
    const std::array tables = {msr_rows_platform(), msr_rows_memory(), msr_rows_cpu(),
                               msr_rows_cet()};
    u32 slots = 0;
    for (const std::span<const MsrRow> table : tables) {
        for (const MsrRow& row : table) {
            if (row.exists(features)) {
                entries_.push_back({&row, slots});
                slots += row.count;
            }
        }
    }
    std::sort(entries_.begin(), entries_.end(),
              [](const Entry& a, const Entry& b) { return a.row->index < b.row->index; });
    values_.resize(slots);
    reset();
}

const MsrStore::Entry* MsrStore::find(u32 index) const {
    const auto after =
        std::upper_bound(entries_.begin(), entries_.end(), index,
                         [](u32 wanted, const Entry& entry) { return wanted < entry.row->index; });
    if (after == entries_.begin()) {
        return nullptr;
    }
    const Entry& entry = *(after - 1);
    return index - entry.row->index < entry.row->count ? &entry : nullptr;
}

u64 MsrStore::value(u32 index) const {
    const Entry* entry = find(index);
    DROSTE_ASSERT(entry != nullptr);
    return values_[entry->slot + (index - entry->row->index)];
}

void MsrStore::set_value(u32 index, u64 value) {
    const Entry* entry = find(index);
    DROSTE_ASSERT(entry != nullptr);
    cell(*entry, index) = value;
}

void MsrStore::reset() {
    for (const Entry& entry : entries_) {
        std::fill_n(values_.begin() + entry.slot, entry.row->count, entry.row->reset);
    }
    if (has_monitor_) {
        set_value(kMiscEnable, value(kMiscEnable) | bit(kMiscEnableMonitor));
    }
}

bool misc_enable_bit(const Vcpu& cpu, unsigned position) {
    return test_bit(cpu.msrs->value(kMiscEnable), position);
}

// --- RDMSR, WRMSR. ---

namespace {

Status refuse(Vcpu& cpu) {
    return raise(cpu, Exception::GP, 0);
}

u64 stored_value(Vcpu& cpu, const MsrStore::Entry& entry, u32 index) {
    return entry.row->field != nullptr ? cpu.state.*entry.row->field : cpu.msrs->cell(entry, index);
}

}  // namespace

Status read_msr(Vcpu& cpu, u32 index, u64& value) {
    const MsrStore::Entry* entry = cpu.msrs->find(index);
    if (entry == nullptr) {
        cpu.log.write(LogCategory::Unimplemented, "RDMSR {:08x}: no such MSR, rip {:x}", index,
                      cpu.state.rip());
        return refuse(cpu);
    }
    const MsrRow& row = *entry->row;
    if (row.access == MsrAccess::WriteOnly) {
        return refuse(cpu);
    }
    if (row.read != nullptr) {
        return row.read(cpu, index, value) ? Status::Next : refuse(cpu);
    }
    value = stored_value(cpu, *entry, index);
    return Status::Next;
}

Status write_msr(Vcpu& cpu, u32 index, u64 value) {
    const MsrStore::Entry* entry = cpu.msrs->find(index);
    if (entry == nullptr) {
        cpu.log.write(LogCategory::Unimplemented, "WRMSR {:08x} := {:016x}: no such MSR, rip {:x}",
                      index, value, cpu.state.rip());
        return refuse(cpu);
    }
    const MsrRow& row = *entry->row;
    const bool illegal = row.access == MsrAccess::ReadOnly ||
                         (value & ~(row.writable | row.ignored)) != 0 ||
                         (row.check != nullptr && !row.check(cpu, index, value));
    if (illegal) {
        cpu.log.write(LogCategory::GuestErrors, "WRMSR {} ({:08x}) := {:016x}: #GP, rip {:x}",
                      row.name, index, value, cpu.state.rip());
        return refuse(cpu);
    }
    if (row.write != nullptr) {
        return row.write(cpu, index, value) ? Status::Next : refuse(cpu);
    }
    const u64 kept = stored_value(cpu, *entry, index) & ~row.writable;
    const u64 next = kept | (value & row.writable);
    if (row.field != nullptr) {
        cpu.state.*row.field = next;
    } else {
        cpu.msrs->cell(*entry, index) = next;
    }
    return Status::Next;
}

// --- Reset. ---

void msr_reset(Vcpu& cpu, bool power_on) {
    if (!power_on) {
        // INIT leaves MSRs alone but for what would contradict CR0.PG = 0 and DR7 = 400H.
        cpu.state.efer = 0;
        cpu.state.debugctl = 0;
        return;
    }
    cpu.msrs->reset();
    for (const MsrStore::Entry& entry : cpu.msrs->entries()) {
        if (entry.row->field != nullptr) {
            cpu.state.*entry.row->field = entry.row->reset;
        }
    }
    cpu.state.tsc_offset = u64{0} - cpu.clock.now_ns();  // the TSC starts from 0
}

// --- Firmware's part. ---

void msr_firmware_mtrrs(Vcpu& cpu) {
    if (!cpu.features.has(Feature::MTRR)) {
        return;
    }
    constexpr u64 kWriteBack = 6;
    constexpr u64 kWriteBackBytes = 0x0606'0606'0606'0606;
    constexpr u64 kVariableValid = bit(11);
    constexpr u64 kDefaultEnable = bit(11) | bit(10);  // MTRRs and the fixed ranges among them
    const u64 physical = bit(cpu.features.physical_address_bits) - 1;
    MsrStore& msrs = *cpu.msrs;
    msrs.set_value(0x250, kWriteBackBytes);  // IA32_MTRR_FIX64K_00000
    msrs.set_value(0x258,
                   kWriteBackBytes);  // IA32_MTRR_FIX16K_80000; A0000H..BFFFFH stays uncacheable
    for (u32 fixed_4k = 0x268; fixed_4k <= 0x26F; ++fixed_4k) {
        msrs.set_value(fixed_4k, kWriteBackBytes);
    }
    static_assert(GuestMemory::kLowLimit == 0xC000'0000, "one variable range covers 3 to 4 GiB");
    msrs.set_value(0x200, GuestMemory::kLowLimit);  // IA32_MTRR_PHYSBASE0: uncacheable
    msrs.set_value(0x201, (physical & ~u64{0x3FFF'FFFF}) | kVariableValid);
    msrs.set_value(0x2FF, kDefaultEnable | kWriteBack);
}

}  // namespace droste

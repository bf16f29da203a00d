#include "tests/fuzz/vmcs_mutation.hpp"

#include "cpu/vmx/guest/virtual_apic.hpp"
#include "cpu/x86/system/cet.hpp"

namespace droste::test {

namespace {

enum class FieldKind : u8 {
    Plain,
    Address,
    Pin,
    Proc,
    Proc2,
    ExitControls,
    EntryControls,
    MsrCount,
    InterruptionInfo,
    ErrorCode,
    InstructionLength,
    Interruptibility,
    ActivityState,
    PendingDebug,
    Rights,
    Limit,
    Linear,
    Rflags,
    Selector,
    CetControl,
    ShadowStack,
};

struct KindRow {
    VmcsField field;
    FieldKind kind;
};
using F = VmcsField;
constexpr auto kSpecialFields = std::to_array<KindRow>({
    {F::pin_controls, FieldKind::Pin},
    {F::proc_controls, FieldKind::Proc},
    {F::proc2_controls, FieldKind::Proc2},
    {F::exit_controls, FieldKind::ExitControls},
    {F::entry_controls, FieldKind::EntryControls},
    {F::exit_msr_store_count, FieldKind::MsrCount},
    {F::exit_msr_load_count, FieldKind::MsrCount},
    {F::entry_msr_load_count, FieldKind::MsrCount},
    {F::entry_interruption_info, FieldKind::InterruptionInfo},
    {F::entry_exception_error_code, FieldKind::ErrorCode},
    {F::entry_instruction_length, FieldKind::InstructionLength},
    {F::guest_interruptibility, FieldKind::Interruptibility},
    {F::guest_activity_state, FieldKind::ActivityState},
    {F::guest_pending_debug, FieldKind::PendingDebug},
    {F::guest_rflags, FieldKind::Rflags},
    {F::guest_rip, FieldKind::Linear},
    {F::guest_rsp, FieldKind::Linear},
    {F::guest_cr3, FieldKind::Address},
    {F::host_cr3, FieldKind::Address},
    {F::ept_pointer, FieldKind::Plain},
    {F::guest_ia32_s_cet, FieldKind::CetControl},
    {F::host_ia32_s_cet, FieldKind::CetControl},
    {F::guest_ssp, FieldKind::ShadowStack},
    {F::host_ssp, FieldKind::ShadowStack},
    {F::guest_ia32_interrupt_ssp_table_addr, FieldKind::Linear},
    {F::host_ia32_interrupt_ssp_table_addr, FieldKind::Linear},
});

FieldKind kind_of(VmcsField field) {
    for (const KindRow& row : kSpecialFields) {
        if (row.field == field) {
            return row.kind;
        }
    }
    const VmcsFieldRow& row = row_of(field);
    const std::string_view name = row.member;
    const auto ends_with = [&](std::string_view tail) {
        return name.size() > tail.size() && name.substr(name.size() - tail.size()) == tail;
    };
    if (ends_with("_access_rights")) {
        return FieldKind::Rights;
    }
    if (ends_with("_limit")) {
        return FieldKind::Limit;
    }
    if (ends_with("_selector")) {
        return FieldKind::Selector;
    }
    if (ends_with("_base") || ends_with("_esp") || ends_with("_eip")) {
        return FieldKind::Linear;
    }
    const bool address = row.bytes == 8 && row.encoding < 0x2400;
    return address ? FieldKind::Address : FieldKind::Plain;
}

u64 random_address(Random& random, const VmxCapabilities& caps) {
    constexpr u64 kPages[] = {VmxMachine::kVmcsRegion,
                              VmxMachine::kShadowVmcs,
                              VmxMachine::kBitmaps,
                              VmxMachine::kGuestData,
                              VmxMachine::kMsrLists,
                              VmxMachine::kEptTables,
                              VmxMachine::kGuestCode,
                              VmxMachine::kVirtualApic,
                              TestMachine::kTables,
                              kPaePointers,
                              kPaeDirectory,
                              kDirectory32,
                              kSpare};
    const u64 width = caps.physical_address_bits;
    switch (random.below(10)) {
    case 0: return random.next() >> (64 - width) & kPageMask;  // anywhere, mostly outside RAM
    case 1: return (u64{1} << width) - kPageBytes;             // the last page
    case 2: return (u64{1} << (width + random.below(64 - width))) | kSpare;  // too wide
    case 3: return random.pick(kPages) | (u64{1} << random.below(12));       // not aligned
    case 4: return 0xFEE0'0000;                                              // the local APIC
    case 5: return TestMachine::kRamBytes - random.below(2) * kPageBytes;    // around the end
    case 6: return ~u64{0};
    default: return random.pick(kPages);
    }
}

u64 random_linear(Random& random, const VmxCapabilities& caps, u64 old) {
    const u64 half = u64{1} << (caps.linear_address_bits - 1U);
    switch (random.below(8)) {
    case 0: return half - 1 - random.below(16);
    case 1: return half;
    case 2: return ~half + 1;  // the lowest address of the upper half
    case 3: return 0xFFFF'FFFF - random.below(4);
    case 4: return u64{1} << 32;
    case 5: return random.below(kImageBytes);
    case 6: return old + random.below(64);
    default: return random.next();
    }
}

// The enabling bits, the tracker's two, a legacy bit map; and what is wrong with each.
u64 random_cet_control(Random& random, u64 old) {
    constexpr u64 kTrackers[] = {0, cet::kSuppress, cet::kTracker, cet::kSuppress | cet::kTracker};
    constexpr u64 kBitmaps[] = {
        0, kSpare, 0xFFFF'F000, u64{1} << 32, u64{1} << 47, 0xFFFF'8000'0000'0000};
    switch (random.below(4)) {
    case 0: return old ^ (u64{1} << random.below(64));
    case 1: return random.pick(kBitmaps) | random.below(0x40);
    default: return random.pick(kTrackers) | random.below(0x40);
    }
}

u64 random_shadow_stack(Random& random, const VmxCapabilities& caps, u64 old) {
    const u64 width = caps.linear_address_bits;
    switch (random.below(6)) {
    case 0: return old | (1 + random.below(3));  // not aligned
    case 1: return u64{1} << (width - 1 + random.below(2));
    case 2: return random_linear(random, caps, old) & ~u64{3};
    case 3: return kSpare + random.below(0x400) * 4;  // not a shadow-stack page
    default: return kShadowStack + random.below(0x400) * 4;
    }
}

u64 random_rights(Random& random, u64 old) {
    constexpr u64 kRights[] = {0xA09B, 0xC09B, 0xC093, 0x9B,    0x93,   0xF3,   0x8B,
                               0x83,   0x82,   0xC0F3, 0xA0FB,  0xC09F, 0xC091, 0xC097,
                               0xC095, 0xC013, 0x4093, 0x10000, 0x1F0FF};
    return random.one_in(2) ? random.pick(kRights) : old ^ (u64{1} << random.below(20));
}

u64 random_rflags(Random& random, u64 old) {
    switch (random.below(6)) {
    case 0: return old ^ (u64{1} << random.below(64));
    case 1: return old | rflags::kTf;
    case 2: return old | rflags::kVm;
    default: return old ^ rflags::kIf;
    }
}

u64 random_interruption_info(Random& random) {
    const u64 type = random.below(8);
    constexpr u64 kVectors[] = {0, 1, 2, 3, 6, 8, 13, 14, 18, 20, 21, 31, 0x30, 0x80, 0xFF};
    const u64 vector = type == 2 && !random.one_in(4) ? 2 : random.pick(kVectors);
    u64 info = interruption::kValid | type << 8 | vector;
    const bool has_error_code = type == 3 && (vector == 8 || vector == 13 || vector == 14);
    if (has_error_code != random.one_in(8)) {
        info |= interruption::kErrorCodeValid;
    }
    return random.one_in(16) ? info ^ (u64{1} << random.below(32)) : info;
}

u64 plain_value(Random& random, VmcsField field, u64 old) {
    switch (random.below(5)) {
    case 0: return random.next();
    case 1: return random.below(32);
    case 2: return random.below(2) - 1;  // 0 or all ones
    default: return old ^ (u64{1} << random.below(row_of(field).bytes * 8U));
    }
}

u32 legal(Random& random, const VmxCapabilities::Controls& controls) {
    return (static_cast<u32>(random.next()) & controls.may_be_1) | controls.must_be_1;
}

u64 control_value(Random& random, const VmxCapabilities::Controls& controls, u64 old) {
    const u64 toggled = old ^ (u64{1} << random.below(32));
    return random.one_in(3) ? toggled : (toggled & controls.may_be_1) | controls.must_be_1;
}

// What "Checks on VM-Execution Control Fields" asks of controls among themselves.
void repair(Vmcs& v) {
    constexpr u32 kTprUsers = proc2::kVirtualizeX2apicMode | proc2::kApicRegisterVirtualization |
                              proc2::kVirtualInterruptDelivery;
    constexpr u32 kEptUsers = proc2::kEnablePml | proc2::kUnrestrictedGuest |
                              proc2::kModeBasedExecute | proc2::kEptViolationVe;
    if ((v.pin_controls & pin::kPostedInterrupts) != 0) {
        v.proc2_controls |= proc2::kVirtualInterruptDelivery;
        v.exit_controls |= vm_exit_control::kAcknowledgeInterrupt;
    }
    if ((v.proc2_controls & proc2::kVirtualizeX2apicMode) != 0) {
        v.proc2_controls &= ~proc2::kVirtualizeApicAccesses;
    }
    if ((v.proc2_controls & kTprUsers) != 0) {
        v.proc_controls |= proc::kTprShadow | proc::kActivateSecondary;
    }
    if ((v.proc2_controls & proc2::kVirtualInterruptDelivery) != 0) {
        v.pin_controls |= pin::kExternalInterruptExiting;
    }
    if ((v.proc2_controls & (kEptUsers | proc2::kEnableVmFunctions)) != 0) {
        v.proc2_controls |= proc2::kEnableEpt;
    }
    if ((v.proc_controls & proc::kNmiWindowExiting) != 0) {
        v.pin_controls |= pin::kVirtualNmis;
    }
    if ((v.pin_controls & pin::kVirtualNmis) != 0) {
        v.pin_controls |= pin::kNmiExiting;
    }
    if ((v.pin_controls & pin::kPreemptionTimer) == 0) {
        v.exit_controls &= ~vm_exit_control::kSavePreemptionTimer;
    }
}

void mutate_ept_entry(Random& random, VmxMachine& m) {
    // The four tables of the identity map: their first entries, and those of interesting pages.
    const u64 table = VmxMachine::kEptTables + random.below(4) * kPageBytes;
    constexpr u64 kPages[] = {VmxMachine::kGuestCode, VmxMachine::kGuestStack - 0x1000,
                              VmxMachine::kGuestData, VmxMachine::kGuestIdt,
                              TestMachine::kTables,   kPaePointers,
                              kPaeDirectory,          VmxMachine::kHandlers};
    const u64 index = table == VmxMachine::kEptTables + 3 * kPageBytes
                          ? random.pick(kPages) >> kPageShift
                          : random.below(2);
    const u64 at = table + index * 8;
    const u64 old = m.machine().peek_value<u64>(at);
    constexpr u64 kTargets[] = {VmxMachine::kEptTables, VmxMachine::kEptTables + 0x1000,
                                VmxMachine::kEptTables + 0x3000};
    switch (random.below(7)) {
    case 0: m.machine().poke_value<u64>(at, random.pick(kTargets) | 7); return;  // a loop
    case 1: m.machine().poke_value<u64>(at, (u64{1} << 45) | 0x37); return;      // outside RAM
    case 2: m.machine().poke_value<u64>(at, (old & ~u64{7}) | random.below(8)); return;
    case 3: m.machine().poke_value<u64>(at, old ^ (u64{1} << random.below(64))); return;
    case 4: m.machine().poke_value<u64>(at, 0xFEE0'0037); return;  // device memory
    case 5: m.machine().poke_value<u64>(at, random.next()); return;
    default: m.machine().poke_value<u64>(at, 0); return;
    }
}

void mutate_guest_tables(Random& random, VmxMachine& m) {
    constexpr u64 kTables[] = {TestMachine::kTables,
                               TestMachine::kTables + 0x1000,
                               TestMachine::kTables + 0x2000,
                               TestMachine::kTables + 0x3000,
                               kPaePointers,
                               kPaeDirectory,
                               kDirectory32};
    const u64 at = random.pick(kTables) + random.below(24) * 8;
    const u64 old = m.machine().peek_value<u64>(at);
    m.machine().poke_value<u64>(at, random.one_in(2) ? old ^ (u64{1} << random.below(64))
                                                     : random.pick(kTables) | random.below(8));
}

void fill_msr_list(Random& random, VmxMachine& m) {
    constexpr u64 kMsrs[] = {0x10,        0x1B,        0x174,       0x175,       0x176,
                             0x277,       0xDA0,       0x3A,        0x480,       0x808,
                             0x8B,        0x1D9,       0xC000'0080, 0xC000'0081, 0xC000'0082,
                             0xC000'0100, 0xC000'0102, 0xC000'0103, 0xFFFF'FFFF, 0x6A0,
                             0x6A2,       0x6A4,       0x6A7,       0x6A8};
    for (u64 i = 0; i < 8; ++i) {
        const u64 at = VmxMachine::kMsrLists + i * 16;
        m.machine().poke_value<u64>(at,
                                    random.pick(kMsrs) | (random.one_in(16) ? u64{1} << 40 : 0));
        m.machine().poke_value<u64>(at + 8, random.one_in(2) ? 0 : random.next());
    }
}

void mutate_virtual_apic(Random& random, VmxMachine& m) {
    const u64 apic = VmxMachine::kVirtualApic;
    m.machine().poke_value<u32>(apic + virtual_apic::kTpr, static_cast<u32>(random.below(256)));
    m.machine().poke_value<u32>(apic + virtual_apic::kIrr + random.below(8) * 16,
                                static_cast<u32>(random.next()));
    m.machine().poke_value<u32>(apic + virtual_apic::kIsr + random.below(8) * 16,
                                static_cast<u32>(random.next()));
    m.machine().poke_value<u64>(kSpare + 0x5000 + random.below(5) * 8, random.next());
}

}  // namespace

u64 mutated_value(Random& random, const VmxCapabilities& caps, VmcsField field, u64 old) {
    constexpr u64 kMsrCounts[] = {0, 1, 2, 5, 512, 513, 0x0FFF'FFFF, 0xFFFF'FFFF};
    constexpr u64 kSelectors[] = {0, 8, 0x10, 0x18, 0x13, 0x1B, 0x1C, 0x20, 0x24, 0x28, 0xFFFF};
    constexpr u64 kLimits[] = {0, 0x66, 0x67, 0xFFF, 0xFFFF, 0xF'FFFF, 0x10'0000, 0xFFFF'FFFF};
    constexpr u64 kPending[] = {1, 0xF, 0x1000, 0x4000, 0x5001, 0x10, 0x1'0000};
    switch (kind_of(field)) {
    case FieldKind::Address: return random_address(random, caps);
    case FieldKind::Pin: return control_value(random, caps.pin, old);
    case FieldKind::Proc: return control_value(random, caps.proc, old);
    case FieldKind::Proc2: return control_value(random, caps.proc2, old);
    case FieldKind::ExitControls: return control_value(random, caps.exit, old);
    case FieldKind::EntryControls: return control_value(random, caps.entry, old);
    case FieldKind::MsrCount: return random.pick(kMsrCounts);
    case FieldKind::InterruptionInfo: return random_interruption_info(random);
    case FieldKind::ErrorCode: return random.one_in(8) ? 0x1'0000 : random.below(0x1'0000);
    case FieldKind::InstructionLength: return random.below(17);
    case FieldKind::Interruptibility: return random.below(20);
    case FieldKind::ActivityState: return random.below(5);
    case FieldKind::PendingDebug: return random.pick(kPending);
    case FieldKind::Rights: return random_rights(random, old);
    case FieldKind::Limit: return random.pick(kLimits);
    case FieldKind::Linear: return random_linear(random, caps, old);
    case FieldKind::Rflags: return random_rflags(random, old);
    case FieldKind::Selector: return random.pick(kSelectors);
    case FieldKind::CetControl: return random_cet_control(random, old);
    case FieldKind::ShadowStack: return random_shadow_stack(random, caps, old);
    case FieldKind::Plain: break;
    }
    return plain_value(random, field, old);
}

void mutate_controls(Random& random, VmxMachine& m) {
    Vmcs& v = m.vmcs();
    const VmxCapabilities& caps = m.vmx().caps;
    v.pin_controls = legal(random, caps.pin);
    // The guest's mode and its EPT stay; the rest is drawn.
    constexpr u32 kKept = proc2::kEnableEpt | proc2::kUnrestrictedGuest | proc2::kEnableVpid;
    v.proc_controls = legal(random, caps.proc) | proc::kActivateSecondary;
    v.proc2_controls = (legal(random, caps.proc2) & ~kKept) | (v.proc2_controls & kKept);
    constexpr u32 kHost64 = vm_exit_control::kHostAddressSpaceSize,
                  kIa32e = vm_entry_control::kIa32eModeGuest;
    v.exit_controls = (legal(random, caps.exit) & ~kHost64) | (v.exit_controls & kHost64);
    v.entry_controls = (legal(random, caps.entry) & ~kIa32e) | (v.entry_controls & kIa32e);
    if (random.one_in(4)) {  // the whole virtual APIC, one way or the other
        constexpr u32 kModes = proc2::kVirtualizeX2apicMode | proc2::kVirtualizeApicAccesses;
        v.proc2_controls &= ~kModes;
        v.proc2_controls |=
            proc2::kVirtualInterruptDelivery | proc2::kApicRegisterVirtualization |
            (random.one_in(2) ? proc2::kVirtualizeX2apicMode : proc2::kVirtualizeApicAccesses);
        v.proc_controls |= proc::kUseMsrBitmaps;
        v.proc_controls &= ~proc::kInterruptWindowExiting;
        v.guest_rflags |= rflags::kIf;
        v.guest_interrupt_status = static_cast<u16>(random.next());
        v.eoi_exit_bitmap_0 = v.eoi_exit_bitmap_2 = random.next();
        mutate_virtual_apic(random, m);
    }
    // Most of the time what exits before the first instruction stays off.
    if (!random.one_in(4)) {
        v.proc_controls &= ~(proc::kNmiWindowExiting | proc::kMonitorTrapFlag);
    }
    if (!random.one_in(8)) {
        repair(v);
    }
    m.vmx().current->stale_checks = ~0U;
}

void mutate_memory(Random& random, VmxMachine& m) {
    switch (random.below(8)) {
    case 0:
    case 1:
    case 2: mutate_ept_entry(random, m); break;
    case 3: mutate_guest_tables(random, m); break;
    case 4:
        for (unsigned i = 0; i < 16; ++i) {
            const u64 at = VmxMachine::kBitmaps + random.below(0x2000);
            m.machine().poke_value<u8>(at, static_cast<u8>(random.next()));
        }
        break;
    case 5:
        fill_msr_list(random, m);
        m.vmcs().entry_msr_load_address = m.vmcs().exit_msr_store_address =
            m.vmcs().exit_msr_load_address = VmxMachine::kMsrLists;
        m.vmcs().entry_msr_load_count = static_cast<u32>(random.below(4));
        m.vmcs().exit_msr_store_count = static_cast<u32>(random.one_in(3) ? random.below(3) : 0);
        m.vmcs().exit_msr_load_count = static_cast<u32>(random.one_in(4) ? random.below(2) : 0);
        m.vmx().current->stale_checks = ~0U;
        break;
    case 6: mutate_virtual_apic(random, m); break;
    default:
        m.vmcs().proc2_controls |= proc2::kVmcsShadowing;
        m.vmcs().vmcs_link_pointer =
            random.one_in(4) ? random_address(random, m.vmx().caps) : VmxMachine::kShadowVmcs;
        m.vmx().current->stale_checks = ~0U;
        break;
    }
}

}  // namespace droste::test

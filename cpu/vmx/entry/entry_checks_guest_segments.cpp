// Checks on guest segment registers and descriptor-table registers. SDM Vol. 3C, "Checks on Guest
// Segment Registers", "Checks on Guest Descriptor-Table Registers". One row for each bullet and
// register, generated from the register's fields.

#include "core/bits.hpp"
#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/x86/state/cpu_state.hpp"
#include "cpu/x86/state/regs.hpp"

namespace droste {

namespace {

using C = const EntryContext&;
using enum VmcsField;

constexpr u32 kVirtual8086Rights = 0xF3;
constexpr u32 kReservedRights = 0xFFFE'0F00;  // 31:17 and 11:8

constexpr unsigned type_of(u32 rights) {
    return rights & segment_rights::kType;
}
constexpr unsigned dpl_of(u32 rights) {
    return (rights >> 5) & 3;
}
constexpr bool usable(u32 rights) {
    return (rights & segment_rights::kUnusable) == 0;
}
constexpr bool code(u32 rights) {
    return (rights & segment_rights::kTypeCode) != 0;
}
// G must be 0 if any limit bit 11:0 is 0, and 1 if any limit bit 31:20 is 1.
constexpr bool granularity_ok(u32 rights, u32 limit) {
    const bool pages = (rights & segment_rights::kG) != 0;
    return pages ? (limit & 0xFFF) == 0xFFF : (limit >> 20) == 0;
}
constexpr bool upper_half_clear(u64 base) {
    return (base >> 32) == 0;
}

bool cs_type_ok(C c) {
    const unsigned type = type_of(c.vmcs.guest_cs_access_rights);
    return type == 9 || type == 11 || type == 13 || type == 15 || (type == 3 && c.unrestricted);
}

bool cs_dpl_ok(C c) {
    const unsigned dpl = dpl_of(c.vmcs.guest_cs_access_rights);
    const unsigned ss_dpl = dpl_of(c.vmcs.guest_ss_access_rights);
    switch (type_of(c.vmcs.guest_cs_access_rights)) {
    case 3: return dpl == 0;
    case 9:
    case 11: return dpl == ss_dpl;
    default: return dpl <= ss_dpl;  // conforming
    }
}

bool ss_dpl_zero_ok(C c) {
    const bool must_be_zero =
        type_of(c.vmcs.guest_cs_access_rights) == 3 || (c.vmcs.guest_cr0 & cr0::kPe) == 0;
    return !must_be_zero || dpl_of(c.vmcs.guest_ss_access_rights) == 0;
}

bool data_type_ok(u32 rights) {
    const bool accessed = (rights & segment_rights::kTypeAccessed) != 0;
    return !usable(rights) ||
           (accessed && (!code(rights) || (rights & segment_rights::kTypeReadable) != 0));
}

// DPL is not below RPL for data and nonconforming code segments.
bool data_dpl_ok(C c, u16 selector, u32 rights) {
    return c.unrestricted || !usable(rights) || type_of(rights) > 11 ||
           dpl_of(rights) >= (selector & 3U);
}

// The rules on access rights and limits do not apply in virtual-8086 mode, which has its own.
#define DROSTE_UNLESS_V86(condition) [](C c) { return c.virtual8086 || (condition); }
#define DROSTE_IN_V86(condition)     [](C c) { return !c.virtual8086 || (condition); }
#define DROSTE_RIGHTS(reg)           c.vmcs.guest_##reg##_access_rights
#define DROSTE_LIMIT(reg)            c.vmcs.guest_##reg##_limit

// Bullets that CS, SS, DS, ES, FS and GS share in virtual-8086 mode.
#define DROSTE_V86_ROWS(REG, reg)                                                              \
    {"guest " REG " base in virtual-8086 mode",                                                \
     "the base is the selector shifted left by 4",                                             \
     DROSTE_IN_V86(c.vmcs.guest_##reg##_base == u64{c.vmcs.guest_##reg##_selector} << 4),      \
     {guest_##reg##_base, guest_##reg##_selector, guest_rflags}},                              \
        {"guest " REG " limit in virtual-8086 mode",                                           \
         "the limit is 0000FFFFH",                                                             \
         DROSTE_IN_V86(DROSTE_LIMIT(reg) == 0xFFFF),                                           \
         {guest_##reg##_limit, guest_rflags}},                                                 \
    {                                                                                          \
        "guest " REG " access rights in virtual-8086 mode", "the access rights are 000000F3H", \
            DROSTE_IN_V86(DROSTE_RIGHTS(reg) == kVirtual8086Rights), {                         \
            guest_##reg##_access_rights, guest_rflags                                          \
        }                                                                                      \
    }

// Bullets on access rights that hold for CS, and for the others if they are usable.
#define DROSTE_COMMON_ROWS(REG, reg, applies)                                                   \
    {"guest " REG " S bit",                                                                     \
     "S is 1 (code or data segment)",                                                           \
     DROSTE_UNLESS_V86(!(applies) || (DROSTE_RIGHTS(reg) & segment_rights::kS) != 0),           \
     {guest_##reg##_access_rights, guest_rflags}},                                              \
        {"guest " REG " present",                                                               \
         "P is 1",                                                                              \
         DROSTE_UNLESS_V86(!(applies) || (DROSTE_RIGHTS(reg) & segment_rights::kPresent) != 0), \
         {guest_##reg##_access_rights, guest_rflags}},                                          \
        {"guest " REG " access-rights reserved bits",                                           \
         "bits 11:8 and 31:17 of the access rights are 0",                                      \
         DROSTE_UNLESS_V86(!(applies) || (DROSTE_RIGHTS(reg) & kReservedRights) == 0),          \
         {guest_##reg##_access_rights, guest_rflags}},                                          \
    {                                                                                           \
        "guest " REG " granularity",                                                            \
            "G is 0 if any bit 11:0 of the limit is 0, and 1 if any bit 31:20 is 1",            \
            DROSTE_UNLESS_V86(!(applies) ||                                                     \
                              granularity_ok(DROSTE_RIGHTS(reg), DROSTE_LIMIT(reg))),           \
        {                                                                                       \
            guest_##reg##_access_rights, guest_##reg##_limit, guest_rflags                      \
        }                                                                                       \
    }

#define DROSTE_DATA_ROWS(REG, reg)                                                              \
    {"guest " REG " type",                                                                      \
     "if usable: accessed, and readable if it is a code segment",                               \
     DROSTE_UNLESS_V86(data_type_ok(DROSTE_RIGHTS(reg))),                                       \
     {guest_##reg##_access_rights, guest_rflags}},                                              \
        {"guest " REG " DPL",                                                                   \
         "without \"unrestricted guest\": if usable and not conforming code, DPL is not below " \
         "the selector's RPL",                                                                  \
         DROSTE_UNLESS_V86(data_dpl_ok(c, c.vmcs.guest_##reg##_selector, DROSTE_RIGHTS(reg))),  \
         {guest_##reg##_access_rights, guest_##reg##_selector, guest_rflags, proc2_controls,    \
          proc_controls}},                                                                      \
        DROSTE_COMMON_ROWS(REG, reg, usable(DROSTE_RIGHTS(reg)))

// clang-format off
constexpr auto kSegments = std::to_array<EntryCheck>({
    // Selector fields
    {"guest TR selector", "TI is 0", [](C c) { return (c.vmcs.guest_tr_selector & 4) == 0; }, {guest_tr_selector}},
    {"guest LDTR selector", "if LDTR is usable, TI is 0",
     [](C c) { return !usable(c.vmcs.guest_ldtr_access_rights) || (c.vmcs.guest_ldtr_selector & 4) == 0; }, {guest_ldtr_selector, guest_ldtr_access_rights}},
    {"guest SS selector RPL", "without \"unrestricted guest\" and outside virtual-8086 mode, the RPL equals that of CS",
     [](C c) { return c.virtual8086 || c.unrestricted || ((c.vmcs.guest_ss_selector ^ c.vmcs.guest_cs_selector) & 3) == 0; },
     {guest_ss_selector, guest_cs_selector, guest_rflags, proc2_controls, proc_controls}},
    // Base-address fields
    DROSTE_V86_ROWS("CS", cs),
    DROSTE_V86_ROWS("SS", ss),
    DROSTE_V86_ROWS("DS", ds),
    DROSTE_V86_ROWS("ES", es),
    DROSTE_V86_ROWS("FS", fs),
    DROSTE_V86_ROWS("GS", gs),
    {"guest TR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.guest_tr_base); }, {guest_tr_base}},
    {"guest FS base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.guest_fs_base); }, {guest_fs_base}},
    {"guest GS base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.guest_gs_base); }, {guest_gs_base}},
    {"guest LDTR base canonical", "if LDTR is usable, the base holds a canonical address",
     [](C c) { return !usable(c.vmcs.guest_ldtr_access_rights) || c.canonical(c.vmcs.guest_ldtr_base); }, {guest_ldtr_base, guest_ldtr_access_rights}},
    {"guest CS base", "bits 63:32 of the base are 0", [](C c) { return upper_half_clear(c.vmcs.guest_cs_base); }, {guest_cs_base}},
    {"guest SS base", "if usable, bits 63:32 of the base are 0",
     [](C c) { return !usable(DROSTE_RIGHTS(ss)) || upper_half_clear(c.vmcs.guest_ss_base); }, {guest_ss_base, guest_ss_access_rights}},
    {"guest DS base", "if usable, bits 63:32 of the base are 0",
     [](C c) { return !usable(DROSTE_RIGHTS(ds)) || upper_half_clear(c.vmcs.guest_ds_base); }, {guest_ds_base, guest_ds_access_rights}},
    {"guest ES base", "if usable, bits 63:32 of the base are 0",
     [](C c) { return !usable(DROSTE_RIGHTS(es)) || upper_half_clear(c.vmcs.guest_es_base); }, {guest_es_base, guest_es_access_rights}},
    // Access-rights and limit fields
    {"guest CS type", "9, 11, 13 or 15 (accessed code), or 3 with \"unrestricted guest\"",
     DROSTE_UNLESS_V86(cs_type_ok(c)), {guest_cs_access_rights, guest_rflags, proc2_controls, proc_controls}},
    {"guest CS DPL", "0 for type 3; SS.DPL for nonconforming code; not above SS.DPL for conforming code",
     DROSTE_UNLESS_V86(cs_dpl_ok(c)), {guest_cs_access_rights, guest_ss_access_rights, guest_rflags}},
    DROSTE_COMMON_ROWS("CS", cs, true),
    {"guest CS D/B in 64-bit mode", "D/B is 0 if \"IA-32e mode guest\" is 1 and L is 1",
     DROSTE_UNLESS_V86(!c.ia32e_guest || (DROSTE_RIGHTS(cs) & (segment_rights::kL | segment_rights::kDb)) != (segment_rights::kL | segment_rights::kDb)),
     {guest_cs_access_rights, guest_rflags, entry_controls}},
    {"guest SS type", "if usable, 3 or 7 (read/write, accessed)",
     DROSTE_UNLESS_V86(!usable(DROSTE_RIGHTS(ss)) || type_of(DROSTE_RIGHTS(ss)) == 3 || type_of(DROSTE_RIGHTS(ss)) == 7), {guest_ss_access_rights, guest_rflags}},
    {"guest SS DPL", "without \"unrestricted guest\", DPL equals the selector's RPL",
     DROSTE_UNLESS_V86(c.unrestricted || dpl_of(DROSTE_RIGHTS(ss)) == (c.vmcs.guest_ss_selector & 3U)),
     {guest_ss_access_rights, guest_ss_selector, guest_rflags, proc2_controls, proc_controls}},
    {"guest SS DPL 0", "DPL is 0 if CS is a data segment (type 3) or CR0.PE is 0",
     DROSTE_UNLESS_V86(ss_dpl_zero_ok(c)), {guest_ss_access_rights, guest_cs_access_rights, guest_cr0, guest_rflags}},
    DROSTE_COMMON_ROWS("SS", ss, usable(DROSTE_RIGHTS(ss))),
    DROSTE_DATA_ROWS("DS", ds),
    DROSTE_DATA_ROWS("ES", es),
    DROSTE_DATA_ROWS("FS", fs),
    DROSTE_DATA_ROWS("GS", gs),
    // TR
    {"guest TR type", "11 (busy 32-bit or 64-bit TSS), or 3 (busy 16-bit TSS) if \"IA-32e mode guest\" is 0",
     [](C c) { return type_of(DROSTE_RIGHTS(tr)) == 11 || (type_of(DROSTE_RIGHTS(tr)) == 3 && !c.ia32e_guest); }, {guest_tr_access_rights, entry_controls}},
    {"guest TR S bit", "S is 0", [](C c) { return (DROSTE_RIGHTS(tr) & segment_rights::kS) == 0; }, {guest_tr_access_rights}},
    {"guest TR present", "P is 1", [](C c) { return (DROSTE_RIGHTS(tr) & segment_rights::kPresent) != 0; }, {guest_tr_access_rights}},
    {"guest TR usable", "TR is usable", [](C c) { return usable(DROSTE_RIGHTS(tr)); }, {guest_tr_access_rights}},
    {"guest TR access-rights reserved bits", "bits 11:8 and 31:17 of the access rights are 0",
     [](C c) { return (DROSTE_RIGHTS(tr) & kReservedRights) == 0; }, {guest_tr_access_rights}},
    {"guest TR granularity", "G is 0 if any bit 11:0 of the limit is 0, and 1 if any bit 31:20 is 1",
     [](C c) { return granularity_ok(DROSTE_RIGHTS(tr), DROSTE_LIMIT(tr)); }, {guest_tr_access_rights, guest_tr_limit}},
    // LDTR, if usable
    {"guest LDTR type", "if usable, 2 (LDT)", [](C c) { return !usable(DROSTE_RIGHTS(ldtr)) || type_of(DROSTE_RIGHTS(ldtr)) == 2; }, {guest_ldtr_access_rights}},
    {"guest LDTR S bit", "if usable, S is 0",
     [](C c) { return !usable(DROSTE_RIGHTS(ldtr)) || (DROSTE_RIGHTS(ldtr) & segment_rights::kS) == 0; }, {guest_ldtr_access_rights}},
    {"guest LDTR present", "if usable, P is 1",
     [](C c) { return !usable(DROSTE_RIGHTS(ldtr)) || (DROSTE_RIGHTS(ldtr) & segment_rights::kPresent) != 0; }, {guest_ldtr_access_rights}},
    {"guest LDTR access-rights reserved bits", "if usable, bits 11:8 and 31:17 of the access rights are 0",
     [](C c) { return !usable(DROSTE_RIGHTS(ldtr)) || (DROSTE_RIGHTS(ldtr) & kReservedRights) == 0; }, {guest_ldtr_access_rights}},
    {"guest LDTR granularity", "if usable, G is 0 if any bit 11:0 of the limit is 0, and 1 if any bit 31:20 is 1",
     [](C c) { return !usable(DROSTE_RIGHTS(ldtr)) || granularity_ok(DROSTE_RIGHTS(ldtr), DROSTE_LIMIT(ldtr)); }, {guest_ldtr_access_rights, guest_ldtr_limit}},
});

constexpr auto kDescriptorTables = std::to_array<EntryCheck>({
    {"guest GDTR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.guest_gdtr_base); }, {guest_gdtr_base}},
    {"guest IDTR base canonical", "the base holds a canonical address", [](C c) { return c.canonical(c.vmcs.guest_idtr_base); }, {guest_idtr_base}},
    {"guest GDTR limit", "bits 31:16 of the limit are 0", [](C c) { return (c.vmcs.guest_gdtr_limit >> 16) == 0; }, {guest_gdtr_limit}},
    {"guest IDTR limit", "bits 31:16 of the limit are 0", [](C c) { return (c.vmcs.guest_idtr_limit >> 16) == 0; }, {guest_idtr_limit}},
});
// clang-format on

#undef DROSTE_UNLESS_V86
#undef DROSTE_IN_V86
#undef DROSTE_RIGHTS
#undef DROSTE_LIMIT
#undef DROSTE_V86_ROWS
#undef DROSTE_COMMON_ROWS
#undef DROSTE_DATA_ROWS

}  // namespace

std::span<const EntryCheck> guest_segment_checks() {
    return kSegments;
}
std::span<const EntryCheck> guest_descriptor_table_checks() {
    return kDescriptorTables;
}

}  // namespace droste

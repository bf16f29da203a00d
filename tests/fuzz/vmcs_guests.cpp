#include "tests/fuzz/vmcs_guests.hpp"

#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/system/cet.hpp"

namespace droste::test {

namespace {

constexpr u32 kRealCode = 0x9B, kRealData = 0x93, kVirtual8086Rights = 0xF3, kCode32 = 0xC09B;
constexpr u16 kCode32Selector = 0x28;

void make_tables(VmxMachine& m) {
    constexpr u64 kPresent = 1, kRwUser = 6, kLarge = 0x80;
    for (u64 i = 0; i < 4; ++i) {
        m.machine().poke_value<u64>(kPaePointers + i * 8, kPaeDirectory | kPresent);
    }
    for (u64 i = 0; i < 512; ++i) {
        m.machine().poke_value<u64>(kPaeDirectory + i * 8, (i << 21) | kPresent | kRwUser | kLarge);
    }
    for (u32 i = 0; i < 1024; ++i) {
        m.machine().poke_value<u32>(kDirectory32 + i * 4U,
                                    (i << 22) | static_cast<u32>(kPresent | kRwUser | kLarge));
    }
    m.machine().poke_value<u64>(VmxMachine::kGuestGdt + kCode32Selector, 0x00CF'9B00'0000'FFFF);
    for (u64 vector = 0; vector < 256; ++vector) {
        const u64 handler = VmxMachine::kHandlers + vector * 16;
        const u64 gate = (handler & 0xFFFF) | (u64{kCode32Selector} << 16) | (u64{0xEE00} << 32) |
                         ((handler >> 16) << 48);
        m.machine().poke_value<u64>(kIdt32 + vector * 8, gate);
        m.machine().poke_value<u32>(kRealIdt + vector * 4,
                                    static_cast<u32>(VmxMachine::kHandlers >> 4 << 16) |
                                        static_cast<u32>(vector * 16));
    }
}

void make_shadow_stack(VmxMachine& m) {
    constexpr u64 kPresent = 1, kAccessed = 1U << 5, kDirty = 1U << 6;
    u64 table = TestMachine::kTables;
    for (unsigned level = 4; level > 1; --level) {
        const u64 index = kShadowStack >> (12 + (level - 1) * 9) & 511;
        table = m.machine().peek_value<u64>(table + index * 8) & 0x000F'FFFF'FFFF'F000;
    }
    m.machine().poke_value<u64>(table + (kShadowStack >> 12 & 511) * 8,
                                kShadowStack | kPresent | kAccessed | kDirty);
}

// CR4.CET for both sides and CET state of their own. The guest tracks branches, or keeps a shadow
// stack, or both.
void set_cet(Vmcs& v, u64 s_cet) {
    v.guest_cr4 |= cr4::kCet;
    v.host_cr4 |= cr4::kCet;
    v.entry_controls |= vm_entry_control::kLoadCetState;
    v.exit_controls |= vm_exit_control::kLoadCetState;
    v.guest_ia32_s_cet = s_cet;
    v.guest_ssp = kShadowStack + 0x800;
    v.guest_ia32_interrupt_ssp_table_addr = kSpare;
    v.host_ia32_s_cet = cet::kOfShadowStacks;
    v.host_ssp = kShadowStack + 0xC00;
    v.host_ia32_interrupt_ssp_table_addr = kSpare + 0x400;
}

void set_segments(Vmcs& v, u32 code_rights, u32 data_rights, u32 limit) {
    v.guest_cs_access_rights = code_rights;
    v.guest_ss_access_rights = v.guest_ds_access_rights = v.guest_es_access_rights =
        v.guest_fs_access_rights = v.guest_gs_access_rights = data_rights;
    v.guest_cs_limit = v.guest_ss_limit = v.guest_ds_limit = v.guest_es_limit = v.guest_fs_limit =
        v.guest_gs_limit = limit;
}

// Real-address and virtual-8086 mode: the base is the selector times 16.
void set_paragraph_segments(Vmcs& v, u32 code_rights, u32 data_rights) {
    set_segments(v, code_rights, data_rights, 0xFFFF);
    v.guest_cs_selector = static_cast<u16>(VmxMachine::kGuestCode >> 4);
    v.guest_ss_selector = static_cast<u16>((VmxMachine::kGuestStack - 0x1000) >> 4);
    v.guest_ds_selector = v.guest_es_selector = v.guest_fs_selector = v.guest_gs_selector =
        static_cast<u16>(VmxMachine::kGuestData >> 4);
    v.guest_cs_base = u64{v.guest_cs_selector} << 4;
    v.guest_ss_base = u64{v.guest_ss_selector} << 4;
    v.guest_ds_base = v.guest_es_base = v.guest_fs_base = v.guest_gs_base = u64{v.guest_ds_selector}
                                                                            << 4;
    v.guest_rip = 0;
    v.guest_rsp = 0x1000;
}

void set_pae(Vmcs& v) {
    v.guest_cr3 = kPaePointers;
    v.guest_pdpte0 = v.guest_pdpte1 = v.guest_pdpte2 = v.guest_pdpte3 = kPaeDirectory | 1;
}

void leave_ia32e(Vmcs& v) {
    v.entry_controls &= ~vm_entry_control::kIa32eModeGuest;
    v.guest_idtr_base = kIdt32;
    v.guest_idtr_limit = 0x7FF;
    v.guest_cs_selector = kCode32Selector;
}

void set_mode(Vmcs& v, GuestMode mode) {
    switch (mode) {
    case GuestMode::Compatibility:
        v.guest_cs_selector = kCode32Selector;
        v.guest_cs_access_rights = kCode32;
        return;
    case GuestMode::Pae:
        leave_ia32e(v);
        v.guest_cs_access_rights = kCode32;
        set_pae(v);
        return;
    case GuestMode::Paged32:
        leave_ia32e(v);
        v.guest_cs_access_rights = kCode32;
        v.guest_cr3 = kDirectory32;
        v.guest_cr4 = (v.guest_cr4 & ~cr4::kPae) | cr4::kPse;
        return;
    case GuestMode::Virtual8086:
        leave_ia32e(v);
        set_pae(v);
        v.guest_rflags |= rflags::kVm;
        set_paragraph_segments(v, kVirtual8086Rights, kVirtual8086Rights);
        return;
    case GuestMode::Flat32:
        leave_ia32e(v);
        v.guest_cs_access_rights = kCode32;
        v.guest_cr0 &= ~cr0::kPg;
        return;
    case GuestMode::Real:
        leave_ia32e(v);
        v.guest_cr0 &= ~(cr0::kPg | cr0::kPe);
        set_paragraph_segments(v, kRealCode, kRealData);
        v.guest_idtr_base = kRealIdt;
        v.guest_idtr_limit = 0x3FF;
        return;
    default: return;
    }
}

// The host as a 32-bit one with PAE paging.
void set_host_32(VmxMachine& m) {
    CpuState& s = m.state();
    s.efer &= ~(efer::kLma | efer::kLme);
    s.cr4 &= ~cr4::kPcide;
    s.cr3 = kPaePointers;
    s.seg[CS] = flat_segment(kCode32Selector, kCode32);
    (void)load_pdptes(m.cpu(), s.cr3);
    m.cpu().tlb.activate(m.cpu());
    Vmcs& v = m.vmcs();
    v.host_cr3 = s.cr3;
    v.host_cr4 = s.cr4;
    v.host_cs_selector = kCode32Selector;
    v.exit_controls &= ~vm_exit_control::kHostAddressSpaceSize;
}

}  // namespace

std::string_view name_of(GuestMode mode) {
    constexpr std::string_view kNames[] = {"64-bit",       "compatibility", "PAE",
                                           "32-bit paged", "virtual-8086",  "32-bit flat",
                                           "real-address"};
    return kNames[static_cast<unsigned>(mode)];
}

GuestKind random_guest_kind(Random& random) {
    GuestKind kind;
    kind.host_32 = random.one_in(8);
    kind.mode = static_cast<GuestMode>(random.below(static_cast<u64>(GuestMode::kCount)));
    if (kind.host_32 && kind.mode <= GuestMode::Compatibility) {
        kind.mode = GuestMode::Pae;
    }
    kind.ept = kind.mode >= GuestMode::Flat32 || !random.one_in(3);
    kind.vpid = !random.one_in(3);
    kind.accessed_dirty = random.one_in(2);
    kind.handlers_return = !random.one_in(3);
    kind.cet = random.one_in(4);
    constexpr u64 kSCet[] = {cet::kShadowStack,
                             cet::kOfShadowStacks,
                             cet::kEndbranch,
                             cet::kEndbranch | cet::kTracker,
                             cet::kShadowStack | cet::kEndbranch,
                             cet::kEndbranch | cet::kNoTrack | cet::kLegacyTreatment | kSpare};
    kind.s_cet = random.pick(kSCet);
    return kind;
}

void make_guest(VmxMachine& m, const GuestKind& kind) {
    m.make_guest_idt();
    make_tables(m);
    make_shadow_stack(m);
    for (u64 vector = 0; kind.handlers_return && vector < 256; ++vector) {
        // add qword [rsp], 2; iretq
        m.machine().poke(VmxMachine::kHandlers + vector * 16,
                         {0x48, 0x83, 0x04, 0x24, 0x02, 0x48, 0xCF});
    }
    Vmcs& v = m.vmcs();
    const u64 eptp = m.make_identity_ept(7 | 1U << 10, kind.accessed_dirty);
    (void)m.ept_entry_address(0);  // the first 2 MiB in 4-KByte pages
    // Fields that only count with their control, so that turning one on enters, too.
    v.ept_pointer = eptp;
    v.vpid = 1;
    v.io_bitmap_a = v.io_bitmap_b = VmxMachine::kBitmaps + 0x1000;
    v.virtual_apic_address = VmxMachine::kVirtualApic;
    v.apic_access_address = VmxMachine::kApicAccess;
    v.pml_address = kSpare;
    v.pml_index = 511;
    v.ve_information_address = kSpare + 0x1000;
    v.eptp_list_address = kSpare + 0x2000;
    v.vmread_bitmap = kSpare + 0x3000;
    v.vmwrite_bitmap = kSpare + 0x4000;
    v.posted_interrupt_descriptor = kSpare + 0x5000;
    v.posted_interrupt_vector = 0xF2;
    v.tsc_multiplier = u64{1} << 48;
    v.guest_ia32_pat = v.host_ia32_pat = 0x0007'0406'0007'0406;
    v.preemption_timer_value = 50;
    v.ple_gap = 128;
    v.ple_window = 4096;
    m.machine().poke_value<u64>(v.eptp_list_address, eptp);
    if (kind.host_32) {
        set_host_32(m);
    }
    set_mode(v, kind.mode);
    if (kind.cet) {
        set_cet(v, kind.s_cet);
    }
    const u64 long_mode = kind.mode <= GuestMode::Compatibility ? efer::kLma | efer::kLme : 0;
    v.guest_ia32_efer = long_mode | efer::kNxe;
    v.host_ia32_efer = efer::kNxe | (kind.host_32 ? 0 : efer::kLma | efer::kLme);
    v.proc_controls |= proc::kActivateSecondary | proc::kHltExiting;
    v.proc2_controls = (kind.ept ? proc2::kEnableEpt | proc2::kUnrestrictedGuest : 0) |
                       (kind.vpid ? proc2::kEnableVpid : 0);
    m.vmx().current->stale_checks = ~0U;
}

std::vector<u8> random_guest_code(Random& random) {
    // Meant for 64-bit mode; in the others the bytes mean something else that is as good.
    static const std::vector<u8> kSnippets[] = {
        {0x90},
        {0x48, 0x01, 0xD8},                                                // add rax, rbx
        {0x8B, 0x03},                                                      // mov eax, [rbx]
        {0x89, 0x43, 0x40},                                                // mov [rbx+40h], eax
        {0x50, 0x59},                                                      // push rax; pop rcx
        {0x0F, 0xA2},                                                      // cpuid
        {0x0F, 0x31},                                                      // rdtsc
        {0x0F, 0x01, 0xF9},                                                // rdtscp
        {0xEC},                                                            // in al, dx
        {0xE7, 0x80},                                                      // out 80h, eax
        {0xF3, 0x6E},                                                      // rep outsb
        {0xF3, 0xAA},                                                      // rep stosb
        {0xB9, 0x80, 0x00, 0x00, 0xC0, 0x0F, 0x32},                        // rdmsr EFER
        {0xB9, 0x74, 0x01, 0x00, 0x00, 0x0F, 0x30},                        // wrmsr SYSENTER_CS
        {0xB9, 0x08, 0x08, 0x00, 0x00, 0x0F, 0x30},                        // wrmsr x2APIC TPR
        {0x31, 0xC0, 0x31, 0xD2, 0xB9, 0x0B, 0x08, 0, 0, 0x0F, 0x30},      // wrmsr x2APIC EOI
        {0x31, 0xD2, 0xB9, 0x3F, 0x08, 0, 0, 0x0F, 0x30},                  // wrmsr x2APIC self-IPI
        {0x0F, 0x20, 0xE0, 0x48, 0x0F, 0xBA, 0xF8, 23, 0x0F, 0x22, 0xE0},  // cr4: flips CET
        {0x89, 0x83, 0xB0, 0, 0, 0},                                       // mov [rbx+B0h], eax
        {0x89, 0x83, 0xF0, 0, 0, 0},                                       // mov [rbx+F0h], eax
        {0xC7, 0x83, 0x00, 0x03, 0, 0, 0x41, 0, 4, 0},     // mov dword [rbx+300h], 40041h
        {0x8B, 0x43, 0x20},                                // mov eax, [rbx+20h]
        {0x0F, 0xC7, 0x1B},                                // xrstors [rbx]
        {0x0F, 0xC7, 0xF8},                                // rdseed eax
        {0x0F, 0x09},                                      // wbinvd
        {0x0F, 0x33},                                      // rdpmc
        {0x66, 0x0F, 0x38, 0x80, 0x0B},                    // invept rcx, [rbx]
        {0xF3, 0x0F, 0xC7, 0x33},                          // vmxon [rbx]
        {0x0F, 0x20, 0xC0, 0x0F, 0x22, 0xC0},              // mov rax, cr0; mov cr0, rax
        {0x0F, 0x20, 0xD8, 0x0F, 0x22, 0xD8},              // cr3
        {0x0F, 0x20, 0xE0, 0x34, 0x80, 0x0F, 0x22, 0xE0},  // cr4: flips PGE
        {0x44, 0x0F, 0x22, 0xC0},                          // mov cr8, rax
        {0x0F, 0x06},                                      // clts
        {0x0F, 0x01, 0xF0},                                // lmsw ax
        {0x0F, 0x23, 0xF8},                                // mov dr7, rax
        {0x0F, 0x01, 0x3B},                                // invlpg [rbx]
        {0x66, 0x0F, 0x38, 0x82, 0x0B},                    // invpcid rcx, [rbx]
        {0xFB},                                            // sti
        {0xFA},                                            // cli
        {0xF4},                                            // hlt
        {0xF3, 0x90},                                      // pause
        {0xCD, 0x80},                                      // int 80h
        {0xCC},                                            // int3
        {0x0F, 0x0B},                                      // ud2
        {0x0F, 0x01, 0xC1},                                // vmcall
        {0x0F, 0x01, 0xC2},                                // vmlaunch
        {0x0F, 0x78, 0xC3},                                // vmread rbx, rax
        {0x0F, 0x79, 0xC3},                                // vmwrite rax, rbx
        {0x0F, 0x01, 0xD4},                                // vmfunc
        {0x0F, 0x01, 0xD1},                                // xsetbv
        {0x0F, 0xC7, 0x2B},                                // xsaves [rbx]
        {0x0F, 0x01, 0x03},                                // sgdt [rbx]
        {0x0F, 0x00, 0xC8},                                // str eax
        {0x48, 0xCF},                                      // iretq
        {0x9D},                                            // popf
        {0x16, 0x17},                                      // push ss; pop ss
        {0x8E, 0xD0},                                      // mov ss, eax
        {0x0F, 0xC7, 0xF0},                                // rdrand eax
        {0x66, 0x0F, 0xAE, 0xF1},                          // tpause ecx
        {0x0F, 0x01, 0xC8},                                // monitor
        {0x0F, 0x01, 0xC9},                                // mwait
        {0x9A, 0, 0, 0, 0, 0x20, 0},                       // call far TSS (32-bit)
        {0x48, 0xBB, 0, 0x90, 0x03, 0, 0, 0, 0, 0},        // mov rbx, APIC-access page
        {0xC7, 0x83, 0x80, 0, 0, 0, 0x30, 0, 0, 0},        // mov dword [rbx+80h], 30h
        {0xF3, 0x0F, 0x1E, 0xFA},                          // endbr64
        {0xF3, 0x0F, 0x1E, 0xFB},                          // endbr32
        {0xE8, 0, 0, 0, 0},                                // call the next instruction
        {0xC3},                                            // ret
        {0x48, 0x8D, 0x05, 0x02, 0, 0, 0, 0xFF, 0xE0},     // lea rax, [rip+2]; jmp rax
        {0x48, 0x8D, 0x05, 0x02, 0, 0, 0, 0xFF, 0xD0},     // lea rax, [rip+2]; call rax
        {0xF3, 0x48, 0x0F, 0x1E, 0xC8},                    // rdsspq rax
        {0xF3, 0x48, 0x0F, 0xAE, 0xE9},                    // incsspq rcx
        {0xF3, 0x0F, 0x01, 0xEA},                          // saveprevssp
        {0xF3, 0x0F, 0x01, 0x2B},                          // rstorssp [rbx]
        {0xF3, 0x0F, 0x01, 0xE8},                          // setssbsy
        {0xF3, 0x0F, 0xAE, 0x33},                          // clrssbsy [rbx]
        {0x48, 0x0F, 0x38, 0xF6, 0x03},                    // wrssq [rbx], rax
        {0xB9, 0xA2, 0x06, 0, 0, 0x31, 0xD2, 0x0F, 0x30},  // wrmsr S_CET
        {0xB9, 0xA8, 0x06, 0, 0, 0x31, 0xD2, 0x0F, 0x30},  // wrmsr INTERRUPT_SSP_TABLE_ADDR
        {0xEB, 0xFE},                                      // jmp $
        {0xEB, 0xF0},                                      // jmp back
    };
    std::vector<u8> code;
    for (u64 count = 1 + random.below(24); count != 0; --count) {
        if (random.one_in(8)) {
            for (u64 noise = random.below(6); noise != 0; --noise) {
                code.push_back(static_cast<u8>(random.next()));
            }
            continue;
        }
        const auto& snippet = kSnippets[random.below(std::size(kSnippets))];
        code.insert(code.end(), snippet.begin(), snippet.end());
    }
    return code;
}

}  // namespace droste::test

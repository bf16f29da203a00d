#pragma once
// Address translation: page walks for all paging modes, and physical accesses of the CPU.
// SDM Vol. 3A, "Paging".

#include "core/types.hpp"
#include "cpu/x86/mmu/tlb.hpp"
#include "cpu/x86/seams/second_stage.hpp"
#include "cpu/x86/vcpu.hpp"

namespace droste {

struct Translation {
    PhysAddr address = 0;         // of the byte asked for, A20 applied
    GuestPhysAddr guest = 0;      // before EPT
    u64 page_bytes = kPageBytes;  // of the guest's page, whatever EPT makes of it
    bool readable = true;         // false only under execute-only EPT mappings
    bool writable = false;  // a write would need nothing more (W allowed, D set, EPT the same)
    bool global = false;
    bool user = false;  // a user-mode address: its protection key guards it
    u8 protection_key = 0;
    u32 chain = 0;  // of the entries that led here, as far as they matter; see kTlbKeepsChains
};

// Walks for one access by `privilege`; sets A/D. Status::Fault: cpu.fault holds #PF (payload =
// linear), or fault_is_vm_exit is set.
Status
walk(Vcpu& cpu, LinearAddr linear, Access access, PrivilegeClass privilege, Translation& out);
// The same for a shadow-stack access, by user or supervisor.
Status walk_shadow_stack(Vcpu& cpu, LinearAddr linear, bool write, bool user, Translation& out);
// The walk a debugger makes: no faults, no A/D updates, no EPT exits; false if not mapped.
bool translate_for_debug(Vcpu& cpu, LinearAddr linear, PhysAddr& out);
// What walk() or walk_shadow_stack() would answer now, without doing anything to the guest; false
// where they would fault.
struct WalkRequest {
    LinearAddr linear = 0;
    Access access = Access::Read;
    PrivilegeClass privilege = PrivilegeClass::Supervisor;
    bool set_accessed_dirty = true;  // false: a debugger's walk
    bool shadow_stack = false;

    bool user() const { return privilege == PrivilegeClass::User; }
};
bool inspect(Vcpu& cpu, WalkRequest request, Translation& out);

// The tlb_mark bits of a translation.
u64 tlb_marks(const Vcpu& cpu, const Translation& translation);

// The class that explicit data accesses are made in now: AC lifts SMAP's check where there is one.
PrivilegeClass data_privilege(const Vcpu& cpu);

// PKRU changes by WRPKRU, XRSTOR ...
void write_pkru(Vcpu& cpu, u32 value);

bool is_canonical(const Vcpu& cpu, u64 linear);
// The same for the widest linear addresses the CPU has, whatever CR4.LA57 says: MSRs, segment and
// descriptor-table bases and the operands of INVPCID and INVVPID are held to that. SDM Vol. 3A,
// "Canonical Addressing".
bool is_canonical_register(const Vcpu& cpu, u64 linear);
// Loads and checks the PAE PDPTEs at `cr3`: #GP(0) by returning Fault. SDM Vol. 3A, "PDPTE
// Registers".
Status load_pdptes(Vcpu& cpu, u64 cr3);

// Physical accesses by the CPU itself (no EPT): RAM, ROM, local APIC or bus. bytes 1..8, not
// crossing a page.
u64 read_physical(Vcpu& cpu, PhysAddr address, unsigned bytes);
void write_physical(Vcpu& cpu, PhysAddr address, unsigned bytes, u64 value);
// After an access that reached a device: the CPU waited for what the device copied meanwhile.
void charge_dma(Vcpu& cpu);

// A20 gate: forces bit 20 of every physical address to 0 when disabled.
inline constexpr u64 kA20Bit = u64{1} << 20;

// The code page RIP lies in, for the engine. Status::Fault as walk().
struct CodePage {
    LinearAddr linear_page = kNoTag;
    PhysAddr page = 0;
    const u8* native =
        nullptr;  // nullptr: not RAM or ROM, fetch byte by byte through read_physical
};
Status fetch_page(Vcpu& cpu, LinearAddr linear, CodePage& out);

}  // namespace droste

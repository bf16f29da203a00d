// Around the walk: what it is asked for (privilege class, canonical addresses), PDPTE registers, the
// code page. SDM Vol. 3A, "Paging".

#include "core/bits.hpp"
#include "core/guest_memory.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/mmu/paging.hpp"

#include <array>

namespace droste {

u64 tlb_marks(const Vcpu& cpu, const Translation& translation) {
    const bool large = translation.page_bytes > kPageBytes && (cpu.state.cr0 & cr0::kPg) != 0;
    return (translation.global ? tlb_mark::kGlobal : 0) | (large ? tlb_mark::kLarge : 0) |
           (translation.user ? tlb_mark::kUser : 0) |
           u64{translation.protection_key} << tlb_mark::kKeyShift;
}

PrivilegeClass data_privilege(const Vcpu& cpu) {
    if (cpu.mode.cpl == 3) {
        return PrivilegeClass::User;
    }
    const bool smap_lifted =
        (cpu.state.cr4 & cr4::kSmap) != 0 && (cpu.state.rflags_system & rflags::kAc) != 0;
    return smap_lifted ? PrivilegeClass::SupervisorAc : PrivilegeClass::Supervisor;
}

bool is_canonical(const Vcpu& cpu, u64 linear) {
    const unsigned width = (cpu.state.cr4 & cr4::kLa57) != 0 ? 57 : 48;
    return sign_extend(linear, width) == linear;
}

bool is_canonical_register(const Vcpu& cpu, u64 linear) {
    return sign_extend(linear, cpu.features.linear_address_bits) == linear;
}

Status load_pdptes(Vcpu& cpu, u64 cr3) {
    constexpr u64 kPresent = 1U << 0;
    std::array<u64, 4> loaded{};
    const unsigned physical_bits = cpu.features.physical_address_bits;
    // Bits 2:1, 8:5 and everything from MAXPHYADDR up are reserved. SDM Vol. 3A, "PDPTE Registers".
    const u64 reserved = 0x1E6 | ~bits(~u64{0}, 0, physical_bits - 1);
    for (unsigned i = 0; i < loaded.size(); ++i) {
        const GuestPhysAddr guest = (cr3 & 0xFFFFFFE0) + i * 8;
        PhysAddr address = cpu.a20_enabled ? guest : guest & ~kA20Bit;
        if (cpu.non_root.second_stage != nullptr) {
            StageTwoAccess access;
            access.linear_valid = false;
            StageTwoResult result;
            if (!cpu.non_root.second_stage->translate(cpu, guest, access, result)) {
                cpu.fault_is_vm_exit = true;
                return Status::Fault;
            }
            address = result.address;
        }
        loaded[i] = read_physical(cpu, address, 8);
        if ((loaded[i] & kPresent) != 0 && (loaded[i] & reserved) != 0) {
            return raise(cpu, Exception::GP, 0);
        }
    }
    cpu.state.pdpte = loaded;
    return Status::Next;
}

Status fetch_page(Vcpu& cpu, LinearAddr linear, CodePage& out) {
    const LinearAddr page = linear & kPageMask;
    CodeTlb& table = cpu.tlb.current().code[cpu.mode.cpl == 3 ? 1 : 0];
    const CodeTlbEntry& entry = table.at(linear);
    if (entry.tag == page) [[likely]] {
        out = {page, entry.page & kPageMask, entry.native};
        return Status::Next;
    }
    ++cpu.counters.code_tlb_misses;
    if (cpu.mode.long_mode64 && !is_canonical(cpu, linear)) {
        return raise(cpu, Exception::GP, 0);
    }
    Translation translation;
    const PrivilegeClass privilege =
        cpu.mode.cpl == 3 ? PrivilegeClass::User : PrivilegeClass::Supervisor;
    if (const Status status = walk(cpu, linear, Access::Execute, privilege, translation);
        status != Status::Next) {
        return status;
    }
    const PhysAddr physical = translation.address & kPageMask;
    const NativePage native = cpu.memory.lookup(physical);
    out = {page, physical, native.native};
    if (native.native != nullptr && !cpu.apic->claims(physical)) {
        const u64 marks = tlb_marks(cpu, translation);
        table.fill(linear, physical | marks, native.native, translation.chain);
        if ((marks & tlb_mark::kLarge) != 0) {
            note_large_page(cpu.tlb.current(), linear, translation.page_bytes);
        }
    }
    return Status::Next;
}

}  // namespace droste

#pragma once
// Seam: who translates guest-physical addresses in VMX non-root operation with EPT. Implemented by
// cpu/vmx.

#include "core/types.hpp"

namespace droste {

class Vcpu;

enum class Access : u8 { Read, Write, Execute };

// Why a guest-physical access is made; EPT violations report it. SDM Vol. 3C, "Exit Qualification
// for EPT Violations".
struct StageTwoAccess {
    Access access = Access::Read;
    bool linear_valid = true;  // a linear address goes with it
    // the access is to a guest paging-structure entry (read, or A/D update)
    bool paging_structure = false;
    bool paging_structure_write = false;  // ... which also writes it (A/D update)
    bool shadow_stack = false;            // a shadow-stack access (cet.hpp)
    // for MBEC and advanced information: translation of a user-mode linear address
    bool user_linear = false;
    bool writable_linear = false;
    bool nx_linear = false;
    LinearAddr linear = 0;
};

struct StageTwoResult {
    PhysAddr address = 0;
    u64 page_bytes = kPageBytes;  // size of the EPT mapping
    bool readable = false;
    bool writable = false;  // may be cached as writable (dirty already set where A/D is on)
    bool executable = false;
};

class SecondStage {
  public:
    SecondStage() = default;
    SecondStage(const SecondStage&) = delete;
    SecondStage& operator=(const SecondStage&) = delete;
    virtual ~SecondStage() = default;

    // False: a VM exit (violation, misconfiguration, PML full) or #VE is pending in the
    // implementation; the caller returns Status::Fault with cpu.fault_is_vm_exit set and the engine
    // calls Intercepts::take_pending_exit().
    virtual bool translate(Vcpu& cpu,
                           GuestPhysAddr address,
                           const StageTwoAccess& access,
                           StageTwoResult& result) = 0;
    // The same for a debugger: no exits, no A/D updates; false if not mapped.
    virtual bool translate_for_debug(Vcpu& cpu, GuestPhysAddr address, StageTwoResult& result) = 0;
};

}  // namespace droste

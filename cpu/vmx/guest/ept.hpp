#pragma once
// Extended page tables: guest-physical to physical. SDM Vol. 3C, "The Extended Page Table Mechanism
// (EPT)".
//
// The problem: one TLB miss of a guest translates up to five guest-physical addresses, four levels
// of EPT each, and most of them are the same few paging structures over and over.
//
// The choice: a small cache of where the leaf entry of a guest-physical page lies, as the paging-
// structure caches of processors have it ("Information That May Be Cached"). It is tagged by EP4TA,
// survives VM exits, and is emptied by INVEPT. The leaf itself is read anew and must be what it was:
// a hypervisor that clears its dirty flag or takes a right from it without INVEPT is noticed as soon
// as the TLB has forgotten the page. Without VPID that is at the next VM entry, which flushes the
// TLB; the next write then sets the flag and is logged again. The cache is positive only: a mapping
// that lacks a right leads to a new walk, never to a violation.
//
// Rejected: whole translations, dirty flag included, until INVEPT (the manual allows it, but
// hypervisors that log dirty pages have only met processors that do not keep them so long, and lose
// pages); emptying the cache at VM entries without VPID (an exit then costs the walks of everything
// the guest touches, and INVVPID, INVLPG and MOV to CR3 of the guest would still trust old flags).

#include "core/types.hpp"
#include "cpu/x86/seams/second_stage.hpp"

#include <array>

namespace droste {

class VmxState;
enum class ExitReason : u16;

class Ept final : public SecondStage {
  public:
    explicit Ept(VmxState& vmx) : vmx_(vmx) {}

    bool translate(Vcpu& cpu,
                   GuestPhysAddr address,
                   const StageTwoAccess& access,
                   StageTwoResult& result) override;
    bool translate_for_debug(Vcpu& cpu, GuestPhysAddr address, StageTwoResult& result) override;

    // The EPT pointer in force (VM entry, EPTP switching).
    void activate(u64 pointer, bool mode_based_execute) {
        if (pointer != pointer_ || mode_based_execute != mode_based_execute_ || tag_ == 0) {
            activate_another(pointer, mode_based_execute);
        }
    }
    u64 pointer() const { return pointer_; }
    u64 tag() const { return tag_; }  // tag_of() that pointer
    // What tags translations made under it: never 0. EP4TA in bits 51:12, settings that change
    // meaning below.
    static u64 tag_of(u64 pointer, bool mode_based_execute);
    // INVEPT of any kind: all cached guest-physical mappings go (more than asked for is always
    // allowed).
    void invalidate() { ++generation_; }

    // One entry a level of how an address translates, for dumps and the debugger.
    struct Step {
        unsigned level = 0;
        PhysAddr entry_address = 0;
        u64 entry = 0;
    };
    struct Steps {
        std::array<Step, 4> steps{};
        unsigned count = 0;
    };
    Steps explain(Vcpu& cpu, GuestPhysAddr address) const;

    u64 walks = 0, cache_hits = 0, violations = 0, misconfigurations = 0;

  private:
    struct Mapping {
        u64 tag = 0;
        u64 generation = 0;
        GuestPhysAddr guest_page = 0;
        PhysAddr leaf_address = 0;
        u64 leaf = 0;  // the entry there
        PhysAddr page = 0;
        u64 page_bytes = 0;
        u8 rights = 0;       // of all levels
        bool dirty = false;  // a write needs no more dirty-flag update
    };
    enum class WalkResult : u8 { Mapped, NotPresent, Misconfigured };
    struct Walk : Steps {
        u8 rights = 0;  // AND over the levels
        u64 page_bytes = 0;
        const Step& last() const { return steps[count - 1]; }
    };
    // What an access needs, and how a violation reports it.
    struct Need {
        u8 rights = 0;
        bool write = false;
        u64 qualification = 0;  // bits 2:0
    };

    void activate_another(u64 pointer, bool mode_based_execute);
    Need need_of(const StageTwoAccess& access) const;
    WalkResult walk(Vcpu& cpu, GuestPhysAddr address, Walk& walk) const;
    bool misconfigured(u64 entry, unsigned level) const;
    void violate(Vcpu& cpu,
                 GuestPhysAddr address,
                 const StageTwoAccess& access,
                 const Need& need,
                 const Walk& walk);
    bool convertible_to_ve(Vcpu& cpu, const Walk& walk) const;
    enum class Update : u8 { Done, Retry, Exit };
    Update set_accessed_dirty(Vcpu& cpu, GuestPhysAddr address, Walk& walk, bool write);
    void
    finish(const Mapping& mapping, GuestPhysAddr address, bool user, StageTwoResult& result) const;
    void exit_later(ExitReason reason, u64 qualification, GuestPhysAddr address, LinearAddr linear);

    static constexpr unsigned kMappings = 1024;
    VmxState& vmx_;
    u64 pointer_ = 0;
    u64 tag_ = 0;
    u64 generation_ = 1;
    bool accessed_dirty_ = false;
    bool mode_based_execute_ = false;
    std::array<Mapping, kMappings> mappings_{};
};

}  // namespace droste

#pragma once
// Seam: who may veto an instruction or an event in VMX non-root operation. Implemented by cpu/vmx.
//
// Vcpu::intercepts is null in VMX root operation and outside VMX, so one pointer test is all that
// an interceptable instruction pays there. Each hook returns true when it made a VM exit (host
// state is loaded, RIP is the host's): the caller then returns Status::Switched at once.

#include "core/types.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/seams/second_stage.hpp"
#include "cpu/x86/state/exception.hpp"

#include <array>

namespace droste {

class Vcpu;

// Instructions whose interception needs nothing but their name and the decoded form.
enum class Interceptable : u8 {
    CPUID,
    HLT,
    INVD,
    INVLPG,
    INVPCID,
    MONITOR,
    MWAIT,
    PAUSE,
    RDPMC,
    RDRAND,
    RDSEED,
    RDTSC,
    RDTSCP,
    RSM,
    WBINVD,
    XSETBV,
    XSAVES,
    XRSTORS,
    GETSEC,
    SGDT,
    SIDT,
    LGDT,
    LIDT,
    SLDT,
    STR,
    LLDT,
    LTR,
    TPAUSE,
    UMWAIT,
    VMX,  // any VMX instruction executed in non-root operation
};

enum class IoDirection : u8 { Out = 0, In = 1 };

class Intercepts {
  public:
    Intercepts() = default;
    Intercepts(const Intercepts&) = delete;
    Intercepts& operator=(const Intercepts&) = delete;
    virtual ~Intercepts() = default;

    // `operand`: INVLPG: the linear address; INVPCID: linear address of the descriptor; SGDT..LTR:
    // the effective address; XSAVES/XRSTORS: EDX:EAX. Called after faults that take priority over
    // the exit were checked (SDM Vol. 3C, "Relative Priority of Faults and VM Exits").
    virtual bool instruction(Vcpu& cpu, const Insn& insn, Interceptable kind, u64 operand) = 0;
    // MOV to/from CRn, CLTS, LMSW. `write_value` is the value being written, or unused for reads.
    // For MOV to CR0/CR4, LMSW and CLTS the hook may instead change write_value (masked bits) and
    // return false.
    enum class CrAccess : u8 { MovTo = 0, MovFrom = 1, Clts = 2, Lmsw = 3 };
    virtual bool cr_access(Vcpu& cpu, const Insn& insn, CrAccess access, u8 cr, u64& value) = 0;
    // What the guest reads from CR0 / CR4 (read shadow applied).
    virtual u64 shadowed_cr0(const Vcpu& cpu) const = 0;
    virtual u64 shadowed_cr4(const Vcpu& cpu) const = 0;
    virtual bool dr_access(Vcpu& cpu, const Insn& insn) = 0;
    // IN/OUT/INS/OUTS; `linear` is the memory operand of the string forms.
    virtual bool io(Vcpu& cpu,
                    const Insn& insn,
                    u16 port,
                    unsigned size,
                    IoDirection direction,
                    LinearAddr linear) = 0;
    virtual bool rdmsr(Vcpu& cpu, const Insn& insn, u32 index) = 0;
    virtual bool wrmsr(Vcpu& cpu, const Insn& insn, u32 index, u64 value) = 0;
    // MOV to/from CR8 and RDMSR/WRMSR 808h under "use TPR shadow" etc. Return true when they
    // handled the access.
    virtual bool virtual_tpr_read(Vcpu& cpu, u64& value) = 0;
    virtual bool virtual_tpr_write(Vcpu& cpu, u64 value, Status& status) = 0;
    // x2APIC MSRs 800h-8FFh under "virtualize x2APIC mode". True = handled; `status` then holds the
    // outcome.
    virtual bool x2apic_read(Vcpu& cpu, u32 index, u64& value, Status& status) = 0;
    virtual bool x2apic_write(Vcpu& cpu, u32 index, u64 value, Status& status) = 0;
    // An access to the APIC-access page (its translation never enters a TLB). True = handled or
    // exited.
    virtual bool apic_access(
        Vcpu& cpu, PhysAddr address, unsigned size, Access access, u64& value, Status& status) = 0;

    // Before delivery of an exception or a software/hardware event through the IDT.
    virtual bool event(Vcpu& cpu, const Event& event) = 0;
    // Delivery itself met a fault that caused an exit or #DF: remembers what was being delivered
    // (IDT-vectoring).
    virtual void delivering(Vcpu& cpu, const Event& event) = 0;
    virtual void delivered(Vcpu& cpu) = 0;
    virtual bool task_switch(Vcpu& cpu, const Insn* insn, u16 selector, unsigned source) = 0;
    virtual bool triple_fault(Vcpu& cpu) = 0;
    // At an instruction boundary, in priority order: what is pending (interrupt window, NMI window,
    // preemption timer, MTF, TPR below threshold, external interrupt, NMI, INIT, SIPI)? True =
    // exited or state changed. service_boundary() calls it first, whenever it runs in non-root
    // operation, and looks again from the top if it returned true. While a deliverable #DB waits in
    // state.pending_debug it looks only at what takes priority over a debug trap and returns false,
    // so that service_boundary() delivers the #DB. An NMI or interrupt that must exit is consumed
    // here.
    virtual bool boundary(Vcpu& cpu) = 0;
    // A SecondStage or apic_access access failed: perform the exit it prepared.
    virtual void take_pending_exit(Vcpu& cpu) = 0;
    // IRET executed: virtual-NMI unblocking. PAUSE-loop exiting: PAUSE goes through instruction().
    virtual void iret_unblocks_nmi(Vcpu& cpu) = 0;
    // RDTSC & co.: offset and scaling applied to the host-side TSC.
    virtual u64 guest_tsc(const Vcpu& cpu, u64 tsc) const = 0;
    // Does the enabling control let RDTSCP / INVPCID / XSAVES / UMWAIT execute? False: #UD. RDPID
    // asks as RDTSCP, XRSTORS as XSAVES, UMONITOR and TPAUSE as UMWAIT.
    virtual bool instruction_enabled(const Vcpu& cpu, Interceptable kind) const = 0;
};

// Where a field of a VMCS lies, for who reads and writes it without asking cpu/vmx.
struct VmcsFieldPlace {
    u16 offset = 0;  // from VmcsView::fields
    u8 bytes = 0;    // 2, 4 or 8; 0: the processor has no such field
    bool writable = false;
    u32 stale = 0;  // bits to set in the word at -VmcsView::kStaleBefore when the value changes
};

// The fields that VMREAD and VMWRITE reach now, as far as they need no more than a load or a store:
// with a register operand, in 64-bit mode at CPL 0. cpu/vmx keeps it up to date: in root operation
// it is the current VMCS, in non-root operation the shadow VMCS behind the guest's bitmaps, and
// closed when neither may be reached. SDM Vol. 3C, "VMREAD Bitmap Address", "VMWRITE Bitmap Address".
struct VmcsView {
    static constexpr unsigned kStaleBefore = 8;
    using Bitmap = std::array<u8, kPageBytes>;  // a bit for each encoding: 1 closes it

    const u8* read_closed = nullptr;
    const u8* write_closed = nullptr;
    u8* fields = nullptr;
};

// The fields that a processor has, by encoding: the same for all of a machine.
struct VmcsFieldMap {
    static constexpr u64 kLastEncoding = 0x6C7E;

    const u8* numbers = nullptr;             // by half the encoding, which is even
    const VmcsFieldPlace* places = nullptr;  // by number
    std::array<u64, 9> masks = {0, 0, 0xFFFF, 0, 0xFFFF'FFFF, 0, 0, 0, ~u64{0}};  // by bytes

    VmcsFieldPlace find(u64 encoding) const {
        return encoding <= kLastEncoding && encoding % 2 == 0 ? places[numbers[encoding / 2]]
                                                              : VmcsFieldPlace{};
    }
};

// Seam: executes the VMX instructions (VMXON .. INVVPID). Null in Vcpu when the model has no VMX:
// they are #UD then.
class VmxInstructions {
  public:
    VmxInstructions() { close_view(); }
    VmxInstructions(const VmxInstructions&) = delete;
    VmxInstructions& operator=(const VmxInstructions&) = delete;
    virtual ~VmxInstructions() = default;

    virtual Status execute(Vcpu& cpu, const Insn& insn) = 0;
    // Bits of Vcpu::attention that stay pending now: INIT in VMX root operation.
    virtual u32 held_back(const Vcpu& cpu) const = 0;
    // INIT arrived. True: nothing comes of it, now or later.
    virtual bool loses_init(const Vcpu& cpu) const = 0;
    // VMXON done: CR0/CR4 fixed bits apply to MOV CR (#GP otherwise), A20 masking is off.
    virtual bool in_vmx_operation(const Vcpu& cpu) const = 0;
    // Bits that must be 1 now in CR0 / CR4, 0 outside VMX operation; MOV to CR that clears one
    // raises #GP(0). In non-root operation with "unrestricted guest" CR0.PE and CR0.PG are free.
    // SDM Vol. 3C, "Restrictions on VMX Operation".
    virtual u64 cr0_required(const Vcpu& cpu) const = 0;
    virtual u64 cr4_required(const Vcpu& cpu) const = 0;
    // MSRs 480h..493h and IA32_FEATURE_CONTROL: false = not mine or illegal (#GP).
    virtual bool read_msr(Vcpu& cpu, u32 index, u64& value) = 0;
    virtual bool write_msr(Vcpu& cpu, u32 index, u64 value) = 0;
    virtual void reset(Vcpu& cpu) = 0;  // power-on only; INIT leaves IA32_FEATURE_CONTROL
    // A physical address came to mean something else: the local APIC has moved.
    virtual void physical_addresses_changed() = 0;

    // Generated code finds them here.
    VmcsView view;
    VmcsFieldMap field_map;

  protected:
    void close_view() { view = {kAllClosed.data(), kAllClosed.data(), nullptr}; }

  private:
    static constexpr VmcsView::Bitmap kAllClosed = [] {
        VmcsView::Bitmap all{};
        all.fill(0xFF);
        return all;
    }();
};

}  // namespace droste

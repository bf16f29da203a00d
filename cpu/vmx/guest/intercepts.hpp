#pragma once
// The Intercepts seam: what leaves VMX non-root operation. SDM Vol. 3C, "VMX Non-Root Operation".
// intercepts.cpp: instructions; intercept_cr.cpp: control and debug registers;
// intercept_io_msr.cpp; intercept_events.cpp: exceptions, delivery; boundary.cpp: instruction
// boundaries; apic_virt.cpp: the virtual APIC.

#include "cpu/x86/seams/intercept.hpp"

namespace droste {

class VmxState;

class GuestIntercepts final : public Intercepts {
  public:
    explicit GuestIntercepts(VmxState& vmx) : vmx_(vmx) {}

    bool instruction(Vcpu& cpu, const Insn& insn, Interceptable kind, u64 operand) override;
    bool cr_access(Vcpu& cpu, const Insn& insn, CrAccess access, u8 cr, u64& value) override;
    u64 shadowed_cr0(const Vcpu& cpu) const override;
    u64 shadowed_cr4(const Vcpu& cpu) const override;
    bool dr_access(Vcpu& cpu, const Insn& insn) override;
    bool io(Vcpu& cpu,
            const Insn& insn,
            u16 port,
            unsigned size,
            IoDirection direction,
            LinearAddr linear) override;
    bool rdmsr(Vcpu& cpu, const Insn& insn, u32 index) override;
    bool wrmsr(Vcpu& cpu, const Insn& insn, u32 index, u64 value) override;
    bool virtual_tpr_read(Vcpu& cpu, u64& value) override;
    bool virtual_tpr_write(Vcpu& cpu, u64 value, Status& status) override;
    bool x2apic_read(Vcpu& cpu, u32 index, u64& value, Status& status) override;
    bool x2apic_write(Vcpu& cpu, u32 index, u64 value, Status& status) override;
    bool apic_access(Vcpu& cpu,
                     PhysAddr address,
                     unsigned size,
                     Access access,
                     u64& value,
                     Status& status) override;
    bool event(Vcpu& cpu, const Event& event) override;
    void delivering(Vcpu& cpu, const Event& event) override;
    void delivered(Vcpu& cpu) override;
    bool task_switch(Vcpu& cpu, const Insn* insn, u16 selector, unsigned source) override;
    bool triple_fault(Vcpu& cpu) override;
    bool boundary(Vcpu& cpu) override;
    void take_pending_exit(Vcpu& cpu) override;
    void iret_unblocks_nmi(Vcpu& cpu) override;
    u64 guest_tsc(const Vcpu& cpu, u64 tsc) const override;
    bool instruction_enabled(const Vcpu& cpu, Interceptable kind) const override;

  private:
    VmxState& vmx_;
};

}  // namespace droste

// VMX instructions: cpu/vmx executes them behind the VmxInstructions seam; without it (no VMX in
// the model) they are #UD.

#include "cpu/x86/exec/exec_table.hpp"
#include "cpu/x86/seams/intercept.hpp"
#include "cpu/x86/vcpu.hpp"

#include <array>

namespace droste {

namespace {

Status exec_vmx(Vcpu& cpu, const Insn& insn) {
    return cpu.vmx != nullptr ? cpu.vmx->execute(cpu, insn) : raise(cpu, Exception::UD);
}

// SDM Vol. 2D, "GETSEC": #UD while CR4.SMXE = 0, and no model offers SMX.
Status exec_getsec(Vcpu& cpu, const Insn& /*insn*/) {
    return raise(cpu, Exception::UD);
}

ExecFn select_vmx(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_vmx;
}

ExecFn select_getsec(Vcpu& /*cpu*/, Insn& /*insn*/) {
    return exec_getsec;
}

// clang-format off
constexpr auto kRows = std::to_array<ExecRow>({
    {Op::VMCALL,   select_vmx},
    {Op::VMLAUNCH, select_vmx},
    {Op::VMRESUME, select_vmx},
    {Op::VMXOFF,   select_vmx},
    {Op::VMXON,    select_vmx},
    {Op::VMCLEAR,  select_vmx},
    {Op::VMPTRLD,  select_vmx},
    {Op::VMPTRST,  select_vmx},
    {Op::VMREAD,   select_vmx},
    {Op::VMWRITE,  select_vmx},
    {Op::VMFUNC,   select_vmx},
    {Op::INVEPT,   select_vmx},
    {Op::INVVPID,  select_vmx},
    {Op::GETSEC,   select_getsec},
});
// clang-format on

}  // namespace

std::span<const ExecRow> exec_rows_vmx() {
    return kRows;
}

}  // namespace droste

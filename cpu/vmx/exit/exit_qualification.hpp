#pragma once
// Exit qualification and VM-exit instruction information, built from the decoded instruction.
// SDM Vol. 3C, "Basic VM-Exit Information", "Information for VM Exits Due to Instruction
// Execution".

#include "core/types.hpp"
#include "cpu/vmx/exit/exit.hpp"
#include "cpu/x86/decode/insn.hpp"
#include "cpu/x86/seams/intercept.hpp"

namespace droste {

class Vcpu;

// Instruction information for INS/OUTS, LGDT.., LLDT.., INVEPT.., VMREAD.., VMPTRLD.., RDRAND..,
// and for those with a memory operand the exit qualification: its displacement, or with
// RIP-relative addressing the address.
void fill_operand_information(const Vcpu& cpu, const Insn& insn, ExitInfo& info);
u32 instruction_information(const Insn& insn);

// "Exit Qualification for Control-Register Accesses".
u64 cr_access_qualification(const Insn& insn, Intercepts::CrAccess access, u8 cr, u64 lmsw_source);
// "Exit Qualification for MOV DR".
u64 mov_dr_qualification(const Insn& insn);
// "Exit Qualification for I/O Instructions".
u64 io_qualification(const Insn& insn, u16 port, unsigned size, IoDirection direction);
bool is_string_io(const Insn& insn);

// "Exit Qualification for EPT Violations".
namespace ept_violation {
inline constexpr u64 kRead = 1U << 0, kWrite = 1U << 1, kFetch = 1U << 2, kReadable = 1U << 3,
                     kWritable = 1U << 4, kExecutable = 1U << 5, kUserExecutable = 1U << 6,
                     kLinearValid = 1U << 7, kTranslated = 1U << 8, kUserLinear = 1U << 9,
                     kWritableLinear = 1U << 10, kNxLinear = 1U << 11, kNmiUnblocking = 1U << 12,
                     kShadowStack = 1U << 13;
}  // namespace ept_violation

// "Exit Qualification for APIC-Access VM Exits": bits 15:12.
enum class ApicAccessType : u8 {
    LinearRead = 0,
    LinearWrite = 1,
    LinearFetch = 2,
    LinearDuringDelivery = 3,
    PhysicalDuringDelivery = 10,
    Physical = 15,
};

}  // namespace droste

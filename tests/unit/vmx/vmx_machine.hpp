#pragma once
// A bare vCPU in 64-bit mode that plays the hypervisor: C++ code executes the VMX instructions, the
// interpreter runs the guest.
//
// Memory below 2 MiB is mapped one to one for host and guest. The host's VM-exit handler is HLT, so
// run_guest() comes back when the guest exits (or stops by itself).

#include "cpu/vmx/entry/entry_checks.hpp"
#include "cpu/vmx/instructions/vmx_status.hpp"
#include "cpu/vmx/vmcs/controls.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "tests/support/test_machine.hpp"

#include <cstdio>
#include <initializer_list>
#include <memory>
#include <string>

namespace droste::test {

CpuFeatures vmx_features();

class VmxMachine {
  public:
    // Physical addresses.
    static constexpr u64 kVmxonRegion = 0x8000, kVmcsRegion = 0x9000, kOtherVmcs = 0xA000,
                         kShadowVmcs = 0xB000, kScratch = 0xC000, kHostCode = 0xD000,
                         kHostStack = 0xE000, kGuestCode = 0x1'0000, kGuestStack = 0x1'8000,
                         kGuestData = 0x2'0000, kBitmaps = 0x3'0000, kVirtualApic = 0x3'8000,
                         kApicAccess = 0x3'9000, kGuestIdt = 0x4'0000, kGuestGdt = 0x4'1000,
                         kGuestTss = 0x4'2000, kEptTables = 0x5'0000, kMsrLists = 0x6'0000,
                         kHandlers = 0x7'0000;

    explicit VmxMachine(VmxConfig config = VmxConfig::max(),
                        const CpuFeatures& features = vmx_features());
    ~VmxMachine();

    Vcpu& cpu() { return machine_.cpu(); }
    CpuState& state() { return machine_.cpu().state; }
    VmxState& vmx() { return *vmx_; }
    Vmcs& vmcs() { return vmx_->vmcs(); }
    TestMachine& machine() { return machine_; }

    // Instructions, as the host executes them at CPL 0 in 64-bit mode.
    Status vmxon(u64 region = kVmxonRegion);
    Status vmclear(u64 region);
    Status vmptrld(u64 region);
    Status vmlaunch();
    Status vmresume();
    Status vmread(u64 encoding, u64& value);
    Status vmwrite(u64 encoding, u64 value);
    Status invept(u64 type, u64 eptp, u64 high = 0);
    Status invvpid(u64 type, u64 low, u64 linear);
    Status execute(const Insn& insn);  // anything
    bool succeeded() { return (state().rflags() & rflags::kStatus) == 0; }
    bool failed_invalid() { return (state().rflags() & rflags::kStatus) == rflags::kCf; }
    bool failed_valid() { return (state().rflags() & rflags::kStatus) == rflags::kZf; }
    u32 instruction_error() { return vmcs().instruction_error; }

    // VMXON, VMPTRLD and a VMCS that enters a 64-bit guest at kGuestCode.
    void prepare();
    // Sets one field and what depends on it in the memo, as VMWRITE does.
    template <typename T, typename V>
    void set(T Vmcs::*field, V value) {
        vmcs().*field = static_cast<T>(value);
        vmx_->current->stale_checks = ~0U;
    }
    // One 64-bit EPT identity map of the first GiB with 2-MByte pages, `rights` in bits 2:0;
    // returns the EPTP.
    u64 make_identity_ept(u64 rights = 7, bool accessed_dirty = false);
    // Splits the 2-MByte page at 0 into 4-KByte ones; the entry of `address`.
    u64 ept_entry_address(u64 address);

    void guest_code(std::initializer_list<u8> bytes);
    // Enters the guest (VMLAUNCH or VMRESUME) and runs until it exits or `budget` instructions
    // retired. True: it exited.
    bool run_guest(u64 budget = 1000);
    bool continue_guest(u64 budget);  // without a VM entry
    // The host executes `code` from where it is poked to, for `budget` instructions.
    RunResult run_host(std::initializer_list<u8> code, u64 budget);
    // A message of another processor's local APIC.
    void send_init();
    void send_sipi(u8 vector);
    bool pending(u32 attention_bit) { return (cpu().attention.load() & attention_bit) != 0; }
    u32 exit_reason() { return vmcs().exit_reason; }
    bool exited_with(ExitReason reason) { return exit_reason() == static_cast<u32>(reason); }
    // A guest IDT whose vector `v` leads to kHandlers + v * 16, where HLT lies.
    void make_guest_idt();

    std::string log_text();  // what category vmx printed so far

  private:
    Insn memory_insn(Op op, u64 address);

    TestMachine machine_;
    std::unique_ptr<VmxState> vmx_;
    std::unique_ptr<ExecutionEngine> engine_;
    std::FILE* log_ = nullptr;
    bool split_ = false;
};

// Puts the machine into a 32-bit protected-mode host or guest where a test needs one.
void set_guest_32bit(VmxMachine& m);
void set_guest_real_mode(VmxMachine& m);  // needs unrestricted guest

}  // namespace droste::test

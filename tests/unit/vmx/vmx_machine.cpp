#include "tests/unit/vmx/vmx_machine.hpp"

#include "cpu/x86/apic/local_apic.hpp"
#include "tests/support/engines.hpp"

#include <array>
#include <cstdlib>

namespace droste::test {

namespace {

constexpr u32 kCode64Rights = 0xA09B, kCode32Rights = 0xC09B, kDataRights = 0xC093,
              kTssRights = 0x8B, kUnusable = 0x10000;
constexpr u64 kOperand = VmxMachine::kScratch;  // memory operands of VMX instructions

}  // namespace

CpuFeatures vmx_features() {
    CpuFeatures features = all_features();
    features.enable(Feature::VMX);
    return features;
}

VmxMachine::VmxMachine(VmxConfig config, const CpuFeatures& features)
    : machine_(features)
    , vmx_(make_vmx(machine_.cpu(), config))
    , engine_(make_engine(machine_.cpu())) {
    log_ = std::tmpfile();
    machine_.log().set_sink(log_);
    machine_.log().enable(LogCategory::Vmx);
    machine_.enter_long_mode(0);
    for (u64 page = 0; page < 0x20'0000; page += kPageBytes) {
        machine_.map(page, page);
    }
    state().cr4 |= cr4::kVmxe;
    cpu().tlb.activate(cpu());
    machine_.poke_value<u32>(kVmxonRegion, kVmcsRevision);
    machine_.poke_value<u32>(kVmcsRegion, kVmcsRevision);
    machine_.poke_value<u32>(kOtherVmcs, kVmcsRevision);
    machine_.poke_value<u32>(kShadowVmcs, kVmcsRevision | kShadowVmcsIndicator);
    machine_.poke(kHostCode, {0xF4});
    state().rip() = kHostCode;
    state().gpr[RSP] = kHostStack;
}

VmxMachine::~VmxMachine() {
    machine_.log().set_sink(nullptr);
    std::fclose(log_);
}

std::string VmxMachine::log_text() {
    std::fflush(log_);
    const long end = std::ftell(log_);
    std::rewind(log_);
    std::string text(static_cast<std::size_t>(end), '\0');
    const std::size_t got = std::fread(text.data(), 1, text.size(), log_);
    text.resize(got);
    std::fseek(log_, end, SEEK_SET);
    return text;
}

Insn VmxMachine::memory_insn(Op op, u64 address) {
    Insn insn;
    insn.op = op;
    insn.flags = kInsnMem;
    insn.disp = static_cast<i64>(address);
    insn.addrsize = 8;
    insn.opsize = 8;
    insn.length = 4;
    return insn;
}

Status VmxMachine::execute(const Insn& insn) {
    const Status status = vmx_->execute(cpu(), insn);
    if (status == Status::Fault && cpu().fault_is_vm_exit) {
        cpu().fault_is_vm_exit = false;
    }
    return status;
}

Status VmxMachine::vmxon(u64 region) {
    machine_.poke_value<u64>(kOperand, region);
    return execute(memory_insn(Op::VMXON, kOperand));
}
Status VmxMachine::vmclear(u64 region) {
    machine_.poke_value<u64>(kOperand, region);
    return execute(memory_insn(Op::VMCLEAR, kOperand));
}
Status VmxMachine::vmptrld(u64 region) {
    machine_.poke_value<u64>(kOperand, region);
    return execute(memory_insn(Op::VMPTRLD, kOperand));
}
Status VmxMachine::vmlaunch() {
    Insn insn;
    insn.op = Op::VMLAUNCH;
    insn.length = 3;
    return execute(insn);
}
Status VmxMachine::vmresume() {
    Insn insn;
    insn.op = Op::VMRESUME;
    insn.length = 3;
    return execute(insn);
}
Status VmxMachine::vmread(u64 encoding, u64& value) {
    Insn insn;
    insn.op = Op::VMREAD;
    insn.length = 3;
    insn.reg = RAX;
    insn.rm = RBX;
    state().gpr[RAX] = encoding;
    const Status status = execute(insn);
    value = state().gpr[RBX];
    return status;
}
Status VmxMachine::vmwrite(u64 encoding, u64 value) {
    Insn insn;
    insn.op = Op::VMWRITE;
    insn.length = 3;
    insn.reg = RAX;
    insn.rm = RBX;
    state().gpr[RAX] = encoding;
    state().gpr[RBX] = value;
    return execute(insn);
}
Status VmxMachine::invept(u64 type, u64 eptp, u64 high) {
    machine_.poke_value<u64>(kOperand, eptp);
    machine_.poke_value<u64>(kOperand + 8, high);
    Insn insn = memory_insn(Op::INVEPT, kOperand);
    insn.reg = RCX;
    state().gpr[RCX] = type;
    return execute(insn);
}
Status VmxMachine::invvpid(u64 type, u64 low, u64 linear) {
    machine_.poke_value<u64>(kOperand, low);
    machine_.poke_value<u64>(kOperand + 8, linear);
    Insn insn = memory_insn(Op::INVVPID, kOperand);
    insn.reg = RCX;
    state().gpr[RCX] = type;
    return execute(insn);
}

void VmxMachine::prepare() {
    (void)vmxon();
    (void)vmclear(kVmcsRegion);
    (void)vmptrld(kVmcsRegion);
    Vmcs& v = vmcs();
    v = Vmcs{};
    const VmxCapabilities& caps = vmx_->caps;
    v.pin_controls = caps.pin.must_be_1;
    v.proc_controls = caps.proc.must_be_1 | proc::kUseMsrBitmaps;
    v.msr_bitmap = kBitmaps;
    v.exit_controls = caps.exit.must_be_1 | vm_exit_control::kHostAddressSpaceSize;
    v.entry_controls = caps.entry.must_be_1 | vm_entry_control::kIa32eModeGuest;
    v.vmcs_link_pointer = kNoVmcs;

    const CpuState& s = state();
    v.host_cr0 = s.cr0;
    v.host_cr3 = s.cr3;
    v.host_cr4 = s.cr4;
    v.host_cs_selector = 0x10;
    v.host_ss_selector = v.host_ds_selector = v.host_es_selector = 0x18;
    v.host_tr_selector = 0x20;
    v.host_rip = kHostCode;
    v.host_rsp = kHostStack;

    v.guest_cr0 = s.cr0;
    v.guest_cr3 = s.cr3;
    v.guest_cr4 = s.cr4;
    v.guest_dr7 = dr7::kReset;
    v.guest_cs_selector = 0x10;
    v.guest_ss_selector = v.guest_ds_selector = v.guest_es_selector = v.guest_fs_selector =
        v.guest_gs_selector = 0x18;
    v.guest_tr_selector = 0x20;
    v.guest_cs_limit = v.guest_ss_limit = v.guest_ds_limit = v.guest_es_limit = v.guest_fs_limit =
        v.guest_gs_limit = ~0U;
    v.guest_tr_limit = 0x67;
    v.guest_tr_base = kGuestTss;
    v.guest_cs_access_rights = kCode64Rights;
    v.guest_ss_access_rights = v.guest_ds_access_rights = v.guest_es_access_rights =
        v.guest_fs_access_rights = v.guest_gs_access_rights = kDataRights;
    v.guest_tr_access_rights = kTssRights;
    v.guest_ldtr_access_rights = kUnusable;
    v.guest_gdtr_base = kGuestGdt;
    v.guest_gdtr_limit = 0x3F;
    v.guest_idtr_base = kGuestIdt;
    v.guest_idtr_limit = 0xFFF;
    v.guest_rip = kGuestCode;
    v.guest_rsp = kGuestStack;
    v.guest_rflags = rflags::kFixed1;
    vmx_->current->stale_checks = ~0U;
}

u64 VmxMachine::make_identity_ept(u64 rights, bool accessed_dirty) {
    constexpr u64 kWriteBack = 6U << 3, kLarge = 1U << 7;
    constexpr u64 kAllRights = 7 | 1U << 10;
    machine_.poke_value<u64>(kEptTables, (kEptTables + 0x1000) | kAllRights);
    machine_.poke_value<u64>(kEptTables + 0x1000, (kEptTables + 0x2000) | kAllRights);
    for (u64 i = 0; i < 512; ++i) {
        machine_.poke_value<u64>(kEptTables + 0x2000 + i * 8,
                                 (i << 21) | kLarge | kWriteBack | rights);
    }
    for (u64 i = 0; i < 512; ++i) {
        machine_.poke_value<u64>(kEptTables + 0x3000 + i * 8, (i << 12) | kWriteBack | rights);
    }
    split_ = false;
    return kEptTables | eptp::kWriteBack | eptp::kWalkLength4 |
           (accessed_dirty ? eptp::kAccessedDirty : 0);
}

u64 VmxMachine::ept_entry_address(u64 address) {
    if (!split_) {
        machine_.poke_value<u64>(kEptTables + 0x2000, (kEptTables + 0x3000) | 7 | 1U << 10);
        split_ = true;
    }
    return kEptTables + 0x3000 + ((address >> 12) & 511) * 8;
}

void VmxMachine::guest_code(std::initializer_list<u8> bytes) {
    machine_.poke(kGuestCode, bytes);
}

bool VmxMachine::continue_guest(u64 budget) {
    for (u64 spent = 0; spent < budget && vmx_->non_root; ++spent) {
        machine_.events().run_due();
        const RunResult result = engine_->run(cpu(), 1);
        if (result == RunResult::Idle && vmx_->non_root) {
            const u64 next = machine_.events().next_deadline_ns();
            if (next == kNever || (cpu().attention.load() & cpu().attention_mask) != 0) {
                return false;
            }
            machine_.clock().advance_to(next);
        }
    }
    return !vmx_->non_root;
}

bool VmxMachine::run_guest(u64 budget) {
    state().activity = Activity::Active;
    const bool clear = vmx_->current->launch_state == LaunchState::Clear;
    const Status status = clear ? vmlaunch() : vmresume();
    if (status != Status::Switched) {
        return false;
    }
    return continue_guest(budget);
}

RunResult VmxMachine::run_host(std::initializer_list<u8> code, u64 budget) {
    constexpr u64 kProgram = kHostCode + 0x100;
    machine_.poke(kProgram, code);
    state().rip() = kProgram;
    return engine_->run(cpu(), budget);
}

void VmxMachine::send_init() {
    InterruptMessage message;
    message.mode = DeliveryMode::INIT;
    cpu().apic->accept(message);
}

void VmxMachine::send_sipi(u8 vector) {
    InterruptMessage message;
    message.mode = DeliveryMode::SIPI;
    message.vector = vector;
    cpu().apic->accept(message);
}

void VmxMachine::make_guest_idt() {
    // Code descriptor at selector 10h, TSS at 20h, stack segment at 18h.
    machine_.poke_value<u64>(kGuestGdt + 0x10, 0x00AF'9B00'0000'FFFF);
    machine_.poke_value<u64>(kGuestGdt + 0x18, 0x00CF'9300'0000'FFFF);
    for (u64 vector = 0; vector < 256; ++vector) {
        const u64 handler = kHandlers + vector * 16;
        const u64 low = (handler & 0xFFFF) | (u64{0x10} << 16) | (u64{0xEE00} << 32) |
                        ((handler & 0xFFFF'0000) << 32);
        machine_.poke_value<u64>(kGuestIdt + vector * 16, low);
        machine_.poke_value<u64>(kGuestIdt + vector * 16 + 8, 0);
        machine_.poke(handler, {0xF4});
    }
}

void set_guest_32bit(VmxMachine& m) {
    Vmcs& v = m.vmcs();
    v.entry_controls &= ~vm_entry_control::kIa32eModeGuest;
    v.guest_cr4 &= ~cr4::kPcide;
    v.guest_cr0 &= ~cr0::kPg;
    v.guest_cs_access_rights = kCode32Rights;
    m.set(&Vmcs::guest_ia32_efer, 0);
}

void set_guest_real_mode(VmxMachine& m) {
    set_guest_32bit(m);
    Vmcs& v = m.vmcs();
    v.guest_cr0 &= ~(cr0::kPe | cr0::kPg);
    v.guest_cs_access_rights = 0x9B;
    v.guest_cs_limit = 0xFFFF;
    v.guest_cs_base = u64{v.guest_cs_selector} << 4;
    m.set(&Vmcs::guest_rip, 0);
}

}  // namespace droste::test

// Fuzzes VM entries: a good VMCS of every guest mode, a few fields and structures changed to legal,
// boundary and illegal values, VMLAUNCH or VMRESUME, a few hundred guest instructions, and an
// external event if the guest would not leave by itself.
//
// What must hold, whatever the contents: the emulator neither crashes nor hangs; an entry that
// fails does so for a named check, and the memo of checks agrees with a full run; an entry that
// succeeds exits again; the exit loads the host state of the VMCS and saves a guest state that a VM
// entry would take; with a VPID neither flushes a translation.
//
//   vmcs_fuzz [--seed N] [--entries N]
//
// Entries come in groups of 64 on one machine; a seed names a group, so `--seed N --entries 64`
// replays one. The seed is printed before its group runs, so that a crash names it, too.

#include "cpu/vmx/exit/exit.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/system/segment.hpp"
#include "tests/fuzz/vmcs_mutation.hpp"

#include <array>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

namespace droste::test {

namespace {

constexpr u64 kGroupEntries = 64;
constexpr unsigned kGroupSeconds = 120;  // a group takes milliseconds

struct Tally {
    u64 entered = 0, failed_controls = 0, failed_host = 0, failed_guest = 0, failed_msrs = 0,
        aborts = 0, nudged = 0;
    std::array<u64, kExitReasonLimit> exits{};
    std::vector<std::string_view> checks;  // names met, for the summary
};

// Stops the engine at the VM exit, before the host executes anything.
class StopAtExit final : public VmExitSink {
  public:
    explicit StopAtExit(Vcpu& cpu) : cpu_(cpu) {}
    void vm_exit(const VmExitRecord& /*record*/) override {
        flushes_before = cpu_.counters.tlb_flushes;
        cpu_.request(attention::kStop);
    }
    void vm_entry(const VmExitRecord& /*last_exit*/,
                  unsigned /*level*/,
                  u64 /*instructions*/,
                  u64 /*ns*/,
                  u64 /*now_ns*/) override {}

    u64 flushes_before = 0;  // as the exit began

  private:
    Vcpu& cpu_;
};

class Group {
  public:
    Group(u64 seed, Tally& tally)
        : random_(seed)
        , tally_(tally)
        , kind_(random_guest_kind(random_)) {
        m_.vmx().trace.set_sink(&stop_);
        m_.prepare();
        make_guest(m_, kind_);
        good_ = m_.vmcs();
        host_ = m_.state();
        image_.resize(kImageBytes);
        DROSTE_ASSERT(m_.machine().memory().read(0, image_));
    }

    // False: something that must hold did not; problem() says what.
    bool entry();
    const std::string& problem() const { return problem_; }
    bool over() const { return over_; }
    std::string describe() const;

  private:
    struct Prediction {
        FailedCheck controls, host, guest;
    };

    void prepare_entry();
    void restore_image();
    Prediction predict();
    bool launch_and_judge(const Prediction& prediction);
    bool failed_instruction(const FailedCheck& failed, Status status, u32 error);
    bool failed_guest_state(const FailedCheck& failed, Status status);
    bool explained(const FailedCheck& failed);
    bool run_to_exit();
    bool aborted();
    bool judge_exit();
    bool host_state_loaded();
    bool host_segments_loaded();
    bool guest_state_enterable();
    bool require(bool condition, std::string_view what) {
        if (!condition && problem_.empty()) {
            problem_ = predicted_.empty() ? what : fmt::format("{} ({})", what, predicted_);
        }
        return condition;
    }

    Random random_;
    Tally& tally_;
    GuestKind kind_;
    VmxMachine m_;
    StopAtExit stop_{m_.cpu()};
    Vmcs good_;
    Vmcs before_;
    CpuState host_;
    std::vector<u8> image_;
    std::string problem_;
    std::string_view predicted_;  // the check that must fail the entry
    bool over_ = false;
    bool vpid_ = false;
    bool lists_ = false;  // an MSR area may change what the exit loads
};

// What the guest wrote below 2 MiB goes back, page by page, only where it differs.
void Group::restore_image() {
    GuestMemory& memory = m_.machine().memory();
    for (u64 page = 0; page < kImageBytes; page += kPageBytes) {
        const u8* now = memory.lookup(page).native;
        const std::span<const u8> before(image_.data() + page, kPageBytes);
        if (!std::equal(before.begin(), before.end(), now)) {
            m_.machine().poke(page, before);
        }
    }
}

void Group::prepare_entry() {
    Vcpu& cpu = m_.cpu();
    restore_image();
    // Host state as at the start of the group; the tables may have changed under every tag.
    cpu.state = host_;
    cpu.withdraw(~0U);
    cpu.tlb.flush_all(cpu);
    m_.vmx().ept.invalidate();
    cpu.tlb.activate(cpu);
    update_attention(cpu);
    const bool keep = random_.one_in(2) && m_.vmx().current->launch_state == LaunchState::Launched;
    if (!keep) {
        m_.vmcs() = good_;
        m_.vmx().current->stale_checks = ~0U;
        m_.vmx().current->launch_state = LaunchState::Clear;
        if (random_.one_in(2)) {
            mutate_controls(random_, m_);
        }
    }
    for (u64 changes = random_.below(5); changes != 0; --changes) {
        const auto field = static_cast<VmcsField>(random_.below(kVmcsFieldCount));
        const VmcsFieldRow& row = row_of(field);
        // The rest of the host state is only changed by one entry in four: it hides what follows.
        if (!m_.vmx().caps.supports(row) || (row.group == VmcsGroup::Host && !random_.one_in(4))) {
            continue;
        }
        const u64 value = mutated_value(random_, m_.vmx().caps, field, read_field(m_.vmcs(), row));
        write_field(m_.vmcs(), row, value);
        m_.vmx().current->stale_checks |= stale_by_writing(field);  // as VMWRITE does
    }
    while (random_.one_in(3)) {
        mutate_memory(random_, m_);
    }
    const std::vector<u8> code = random_guest_code(random_);
    m_.machine().poke(VmxMachine::kGuestCode, code);
    for (unsigned gpr = 0; gpr < 16; ++gpr) {
        cpu.state.gpr[gpr] = random_.one_in(2) ? random_.below(0x1000) : random_.next();
    }
    constexpr u64 kPointers[] = {VmxMachine::kGuestData, VmxMachine::kApicAccess,
                                 VmxMachine::kVirtualApic, 0xFEE0'0000, 0x300};
    cpu.state.gpr[RBX] = random_.pick(kPointers);
    cpu.state.gpr[RCX] = random_.below(6);
    if (random_.one_in(8)) {
        cpu.request(attention::kNmi);
    }
    if (random_.one_in(8)) {
        cpu.apic->mmio_write(0xF0, 4, 0x1FF);
        InterruptMessage message;
        message.vector = random_.one_in(2) ? 0xF2 : static_cast<u8>(0x20 + random_.below(0xE0));
        cpu.apic->accept(message);
    }
    before_ = m_.vmcs();
    predicted_ = {};
}

Group::Prediction Group::predict() {
    const EntryContext context(m_.vmx());
    u32 all = ~0U;
    Prediction prediction;
    prediction.controls = first_failed_check(context, EntryFailure::Controls, all);
    prediction.host = first_failed_check(context, EntryFailure::HostState, all);
    prediction.guest = first_failed_check(context, EntryFailure::GuestState, all);
    for (const FailedCheck& failed : {prediction.guest, prediction.host, prediction.controls}) {
        predicted_ = failed.check != nullptr ? failed.check->name : predicted_;
    }
    return prediction;
}

bool Group::explained(const FailedCheck& failed) {
    const EntryContext context(m_.vmx());
    const std::string text = explain(context, failed);
    bool named = text.find(failed.check->name) != std::string::npos &&
                 text.find(failed.group->section) != std::string::npos;
    for (const VmcsField field : failed.check->fields) {
        named &= text.find(row_of(field).name) != std::string::npos;
    }
    if (std::find(tally_.checks.begin(), tally_.checks.end(), failed.check->name) ==
        tally_.checks.end()) {
        tally_.checks.push_back(failed.check->name);
    }
    named &= m_.log_text().find(text) != std::string::npos;
    return require(named, "a failed entry is not explained");
}

bool Group::failed_instruction(const FailedCheck& failed, Status status, u32 error) {
    ++(error == 7 ? tally_.failed_controls : tally_.failed_host);
    return require(status == Status::Next && m_.failed_valid() && m_.instruction_error() == error,
                   "VMfailValid with the right error number") &&
           require(!m_.vmx().non_root && m_.state().cr3 == host_.cr3 &&
                       m_.state().cr0 == host_.cr0 && m_.state().efer == host_.efer,
                   "a VM entry that fails changes no state") &&
           explained(failed);
}

bool Group::failed_guest_state(const FailedCheck& failed, Status status) {
    ++tally_.failed_guest;
    const u64 qualification = failed.check->qualification;
    return require(status == Status::Switched && !m_.vmx().non_root &&
                       m_.exit_reason() == 0x8000'0021 &&
                       m_.vmcs().exit_qualification == qualification,
                   "exit reason 33 with its qualification") &&
           require(m_.vmcs().entry_interruption_info == before_.entry_interruption_info,
                   "a failed VM entry keeps the event to inject") &&
           explained(failed) && host_state_loaded();
}

bool Group::launch_and_judge(const Prediction& prediction) {
    Vcpu& cpu = m_.cpu();
    const u64 flushes = cpu.counters.tlb_flushes;
    const u64 entries = cpu.counters.vm_entries;
    const bool clear = m_.vmx().current->launch_state == LaunchState::Clear;
    const Status status = clear ? m_.vmlaunch() : m_.vmresume();
    if (prediction.controls.check != nullptr) {
        return failed_instruction(prediction.controls, status, 7);
    }
    if (prediction.host.check != nullptr) {
        return failed_instruction(prediction.host, status, 8);
    }
    if (prediction.guest.check != nullptr) {
        return failed_guest_state(prediction.guest, status);
    }
    if (!require(status == Status::Switched, "an entry without a failed check fails")) {
        return false;
    }
    if (cpu.counters.vm_entries == entries) {  // MSR loading
        ++tally_.failed_msrs;
        const u64 number = m_.vmcs().exit_qualification;
        return require(m_.exit_reason() == 0x8000'0022 && number >= 1 && number <= 513 &&
                           number <= before_.entry_msr_load_count,
                       "exit reason 34 with the number of the entry") &&
               host_state_loaded();
    }
    ++tally_.entered;
    const u64 flushed = cpu.counters.tlb_flushes - flushes;
    const bool only_entered = m_.vmx().non_root && before_.entry_msr_load_count == 0;
    // Breakpoints in force with the guest: pages it has used before are watched from now on.
    const bool watches = (cpu.state.dr7 & 0xFF) != 0;
    return require(!only_entered || flushed == (vpid_ ? 0U : 1U) + (watches ? 1U : 0U),
                   "a VM entry with a VPID flushes nothing, one without flushes once") &&
           run_to_exit() && judge_exit();
}

// A few hundred instructions, then whatever gets every guest out: INIT, and from wait-for-SIPI a
// SIPI.
bool Group::run_to_exit() {
    Vcpu& cpu = m_.cpu();
    if (!m_.vmx().non_root || m_.continue_guest(300)) {
        return true;
    }
    ++tally_.nudged;
    if (random_.one_in(2)) {
        cpu.request(attention::kNmi);
        if (m_.continue_guest(50)) {
            return true;
        }
    }
    cpu.sipi_vector = 0x9A;
    cpu.request(attention::kInit | attention::kSipi);
    return require(m_.continue_guest(20), "INIT or a SIPI ends every stay in the guest");
}

// A VMX abort: an MSR area causes one, or the PDPTEs of a 32-bit host.
bool Group::aborted() {
    ++tally_.aborts;
    over_ = true;
    switch (m_.machine().peek_value<u32>(VmxMachine::kVmcsRegion + 4)) {
    case 1:
    case 4: return require(lists_, "a VMX abort without an MSR area to blame");
    case 2: return require(kind_.host_32, "a VMX abort without host PDPTEs to blame");
    default: return require(false, "the VMX-abort indicator names no cause");
    }
}

bool Group::judge_exit() {
    const Vcpu& cpu = m_.cpu();
    const Vmcs& v = m_.vmcs();
    if (cpu.state.activity == Activity::Shutdown) {
        return aborted();
    }
    const auto reason = static_cast<ExitReason>(v.exit_reason & 0xFFFF);
    if (!require((v.exit_reason & kExitReasonEntryFailure) == 0 &&
                     static_cast<u32>(reason) < kExitReasonLimit && name_of(reason) != "UNKNOWN",
                 "the exit reason exists")) {
        return false;
    }
    ++tally_.exits[static_cast<std::size_t>(reason)];
    return require(lists_ || cpu.counters.tlb_flushes - stop_.flushes_before == (vpid_ ? 0 : 1),
                   "a VM exit with a VPID flushes nothing, one without flushes once") &&
           require((v.entry_interruption_info & interruption::kValid) == 0,
                   "an injected event is not injected again") &&
           require(m_.vmx().current->launch_state == LaunchState::Launched,
                   "the VMCS is launched after an exit") &&
           require(v.exit_instruction_length <= 15, "an instruction has at most 15 bytes") &&
           host_state_loaded() && guest_state_enterable();
}

bool Group::host_segments_loaded() {
    const Vmcs& v = m_.vmcs();
    const CpuState& s = m_.state();
    const bool host_64 = !kind_.host_32;
    struct Row {
        SegReg reg;
        u16 selector;
    };
    for (const auto& [reg, selector] :
         {Row{SS, v.host_ss_selector}, Row{DS, v.host_ds_selector}, Row{ES, v.host_es_selector},
          Row{FS, v.host_fs_selector}, Row{GS, v.host_gs_selector}}) {
        if (!require(s.seg[reg].selector == selector && s.seg[reg].unusable() == (selector == 0) &&
                         s.seg[reg].limit == 0xFFFF'FFFF,
                     "host data segments")) {
            return false;
        }
    }
    const u32 code = host_64 ? 0xA09B : 0xC09B;
    return require(s.seg[CS].selector == v.host_cs_selector && s.seg[CS].rights == code &&
                       s.seg[CS].base == 0 && s.seg[CS].limit == 0xFFFF'FFFF,
                   "host CS") &&
           require(s.seg[FS].base == v.host_fs_base && s.seg[GS].base == v.host_gs_base,
                   "host FS and GS bases") &&
           require(s.tr.selector == v.host_tr_selector && s.tr.base == v.host_tr_base &&
                       s.tr.limit == 0x67 && s.tr.rights == 0x8B && s.ldtr.unusable(),
                   "host TR and LDTR") &&
           require(s.gdtr.base == v.host_gdtr_base && s.idtr.base == v.host_idtr_base &&
                       s.gdtr.limit == 0xFFFF && s.idtr.limit == 0xFFFF,
                   "host GDTR and IDTR");
}

bool Group::host_state_loaded() {
    const Vcpu& cpu = m_.cpu();
    const CpuState& s = cpu.state;
    const Vmcs& v = m_.vmcs();
    if (s.activity == Activity::Shutdown) {
        return aborted();
    }
    if (!require(!m_.vmx().non_root && cpu.non_root.intercepts == nullptr &&
                     cpu.non_root.second_stage == nullptr && cpu.non_root.vpid == 0 &&
                     cpu.non_root.ept_root == 0 && cpu.non_root.apic_access_page == kNoTag &&
                     cpu.non_root.attention_forced == 0 && !cpu.non_root.step_forced,
                 "root operation has no seams of the guest") ||
        !require(s.rip() == v.host_rip && s.gpr[RSP] == v.host_rsp &&
                     s.rflags() == rflags::kFixed1 && s.activity == Activity::Active &&
                     (s.interruptibility & ~blocking::kNmi) == 0 && s.pending_debug == 0,
                 "host RIP, RSP, RFLAGS and non-register state")) {
        return false;
    }
    constexpr u64 kLoadedCr0 = 0x8005'002F;
    if (!require(((s.cr0 ^ v.host_cr0) & kLoadedCr0) == 0 && s.cr4 == v.host_cr4 &&
                     s.cr3 == v.host_cr3 && s.dr7 == dr7::kReset,
                 "host control registers and DR7")) {
        return false;
    }
    constexpr u64 kLong = efer::kLma | efer::kLme;
    const bool loads_efer = (v.exit_controls & vm_exit_control::kLoadEfer) != 0;
    const bool loads_pat = (v.exit_controls & vm_exit_control::kLoadPat) != 0;
    const bool loads_cet = (v.exit_controls & vm_exit_control::kLoadCetState) != 0;
    if (!require(!loads_cet ||
                     (s.ssp == v.host_ssp &&
                      (lists_ || (s.s_cet == v.host_ia32_s_cet &&
                                  s.interrupt_ssp_table == v.host_ia32_interrupt_ssp_table_addr))),
                 "host CET state")) {
        return false;
    }
    const bool msrs =
        lists_ ||
        (s.debugctl == 0 && s.sysenter_cs == v.host_ia32_sysenter_cs &&
         s.sysenter_esp == v.host_ia32_sysenter_esp && s.sysenter_eip == v.host_ia32_sysenter_eip &&
         (!loads_efer || s.efer == v.host_ia32_efer) && (!loads_pat || s.pat == v.host_ia32_pat));
    return require(msrs, "host MSRs") &&
           require((s.efer & kLong) == (kind_.host_32 ? 0 : kLong), "host EFER.LMA and LME") &&
           host_segments_loaded();
}

// The processor only saves states it can be in, and VM entries take all of those.
bool Group::guest_state_enterable() {
    const EntryContext context(m_.vmx());
    u32 all = ~0U;
    const FailedCheck failed = first_failed_check(context, EntryFailure::GuestState, all);
    // Two groups look at memory, which the guest may have written.
    if (failed.check == nullptr || failed.check->qualification == kQualificationLinkPointer ||
        failed.check->qualification == kQualificationPdpte) {
        return true;
    }
    // Fields that an exit only saves if told to may not go with the rest.
    const auto unsaved = [&](VmcsField field, u32 control) {
        const FieldList& fields = failed.check->fields;
        return !context.controls.has_exit(control) &&
               std::find(fields.begin(), fields.end(), field) != fields.end();
    };
    if (unsaved(VmcsField::guest_ia32_efer, vm_exit_control::kSaveEfer) ||
        unsaved(VmcsField::guest_ia32_debugctl, vm_exit_control::kSaveDebugControls)) {
        return true;
    }
    return require(
        false, fmt::format("the saved guest state fails a check:\n{}", explain(context, failed)));
}

bool Group::entry() {
    prepare_entry();
    vpid_ = (before_.proc_controls & proc::kActivateSecondary) != 0 &&
            (before_.proc2_controls & proc2::kEnableVpid) != 0;
    lists_ = (before_.exit_msr_load_count | before_.exit_msr_store_count) != 0;
    return launch_and_judge(predict());
}

// What differs from the VMCS the group started from.
std::string Group::describe() const {
    std::string text =
        fmt::format("guest: {}{}{}{}{}{}\n", name_of(kind_.mode), kind_.ept ? ", EPT" : "",
                    kind_.vpid ? ", VPID" : "", kind_.accessed_dirty ? ", A/D" : "",
                    kind_.host_32 ? ", 32-bit host" : "", kind_.cet ? ", CET" : "");
    for (const VmcsFieldRow& row : kVmcsFields) {
        const u64 at_start = read_field(good_, row);
        const u64 at_entry = read_field(before_, row);
        if (at_start != at_entry) {
            text += fmt::format("  {} = {:#x} at the entry, {:#x} in the good VMCS\n", row.name,
                                at_entry, at_start);
        }
    }
    const auto& v = const_cast<VmxMachine&>(m_).vmcs();
    text += fmt::format("  exit reason {:#x}, qualification {:#x}, guest RIP {:#x}, RIP {:#x}\n",
                        v.exit_reason, v.exit_qualification, v.guest_rip,
                        const_cast<VmxMachine&>(m_).state().rip());
    return text;
}

void print_summary(const Tally& tally, u64 entries) {
    std::size_t rows = 0;
    for (const CheckGroup& group : check_groups()) {
        rows += group.rows.size();
    }
    fmt::print("\n{} VM entries: {} entered and exited ({} by a nudge), {} failed on controls, {} "
               "on host state, {} on guest state, {} on MSR loading; {} VMX aborts\n",
               entries, tally.entered, tally.nudged, tally.failed_controls, tally.failed_host,
               tally.failed_guest, tally.failed_msrs, tally.aborts);
    fmt::print("{} of {} entry checks met; exits:", tally.checks.size(), rows);
    for (std::size_t reason = 0; reason < tally.exits.size(); ++reason) {
        if (tally.exits[reason] != 0) {
            fmt::print(" {} {}", name_of(static_cast<ExitReason>(reason)), tally.exits[reason]);
        }
    }
    fmt::print("\n");
}

}  // namespace

int run(int argc, char** argv) {
    u64 seed = 1;
    u64 wanted = 20'000;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view name = argv[i];
        if ((name != "--seed" && name != "--entries") || i + 1 == argc) {
            fmt::print(stderr, "vmcs_fuzz: expected --seed N or --entries N, not {}\n", name);
            return 2;
        }
        (name == "--seed" ? seed : wanted) = std::strtoull(argv[i + 1], nullptr, 0);
    }
    Tally tally;
    u64 done = 0;
    for (u64 group_seed = seed; done < wanted; ++group_seed) {
        fmt::print("\rvmcs_fuzz --seed {} --entries {} ({} done)", group_seed, kGroupEntries, done);
        std::fflush(stdout);
        alarm(kGroupSeconds);  // a hang ends with the seed as the last thing printed
        Group group(group_seed, tally);
        for (u64 i = 0; i < kGroupEntries && done < wanted && !group.over(); ++i, ++done) {
            if (!group.entry()) {
                fmt::print("\nentry {} of the group: must hold, but does not: {}\n{}replay: "
                           "vmcs_fuzz --seed {} --entries {}\n",
                           i, group.problem(), group.describe(), group_seed, kGroupEntries);
                return 1;
            }
        }
    }
    alarm(0);
    print_summary(tally, done);
    return 0;
}

}  // namespace droste::test

int main(int argc, char** argv) {
    return droste::test::run(argc, argv);
}

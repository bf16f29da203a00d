// The VM-exit trace: levels by lineage, counters and cost, text and Chrome JSON, VMCS dump and
// diff.

#include "cpu/vmx/explain/exit_describe.hpp"
#include "cpu/vmx/explain/exit_trace_writers.hpp"
#include "cpu/vmx/explain/vmcs_dump.hpp"
#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace droste;
using namespace droste::test;

namespace {

struct RecordingSink final : VmExitSink {
    std::vector<VmExitRecord> exits;
    std::vector<unsigned> entered_levels;
    void vm_exit(const VmExitRecord& record) override { exits.push_back(record); }
    void vm_entry(const VmExitRecord&, unsigned level, u64, u64, u64) override {
        entered_levels.push_back(level);
    }
};

std::string contents(std::FILE* file) {
    std::fflush(file);
    std::rewind(file);
    std::string text(65536, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file));
    return text;
}

void make_guest(VmxMachine& m, u64 region, std::initializer_list<u8> code, u64 at) {
    (void)m.vmclear(region);
    (void)m.vmptrld(region);
    m.machine().poke(at, code);
}

}  // namespace

TEST_CASE("levels: what a guest's VMLAUNCH leads to is one level deeper", "[vmx][trace]") {
    VmxMachine m;
    RecordingSink sink;
    m.vmx().trace.set_sink(&sink);
    m.prepare();
    const Vmcs good = m.vmcs();
    m.guest_code({0x0F, 0xA2, 0x0F, 0x01, 0xC2});  // cpuid; vmlaunch
    REQUIRE(m.run_guest());
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode + 2);
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMLAUNCH));
    // L1 emulates it: another VMCS.
    make_guest(m, VmxMachine::kOtherVmcs, {0x0F, 0xA2}, VmxMachine::kGuestCode + 0x100);
    m.vmcs() = good;
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode + 0x100);
    REQUIRE(m.run_guest());
    REQUIRE(m.run_guest());
    // Back to the first: still L2.
    (void)m.vmptrld(VmxMachine::kVmcsRegion);
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode);
    REQUIRE(m.run_guest());
    REQUIRE(sink.exits.size() == 5);
    CHECK(sink.exits[0].level == 2);
    CHECK(sink.exits[1].level == 2);
    CHECK(sink.exits[2].level == 3);
    CHECK(sink.exits[3].level == 3);
    CHECK(sink.exits[4].level == 2);
    CHECK(m.vmx().trace.cost(2, 10).count == 2);
    CHECK(m.vmx().trace.cost(3, 10).count == 2);
    CHECK(m.vmx().trace.entries(3) == 2);
    const ExitTrace* trace = &m.vmx().trace;
    const std::string table = exit_table({&trace, 1}, 2.0);
    CHECK(table.find("L3  all, 2 VM entries") != std::string::npos);
    CHECK(table.find("    CPUID                                  2         1.0") !=
          std::string::npos);
}

namespace {

// L1 as KVM is: L2 on one VMCS, and all that L2 asks for on another. What L2 and L3 execute is VMX
// instructions, with their memory operand at [RAX].
struct NestedHost : VmxMachine {
    static constexpr u64 kRegions = kGuestData;  // VMCSs of L2 and L3, a page each

    NestedHost() {
        prepare();
        vmcs().proc_controls |= proc::kActivateSecondary;
        vmcs().proc2_controls = proc2::kEnableEpt | proc2::kEnableVpid;
        vmcs().vpid = 1;
        set(&Vmcs::ept_pointer, make_identity_ept());
        const Vmcs good = vmcs();
        (void)vmclear(kOtherVmcs);
        (void)vmptrld(kOtherVmcs);
        vmcs() = good;
        set(&Vmcs::vpid, 2);
        state().gpr[RAX] = kPointer;
    }
    // What runs on `region` executes `code`, which exits; gives the level it is attributed to.
    unsigned runs(u64 region, std::initializer_list<u8> code) {
        (void)vmptrld(region);
        guest_code(code);
        set(&Vmcs::guest_rip, kGuestCode);
        RecordingSink sink;
        vmx().trace.set_sink(&sink);
        state().gpr[RAX] = kPointer;
        CHECK(run_guest());
        vmx().trace.set_sink(nullptr);
        return sink.exits.size() == 1 ? sink.exits[0].level : 0;
    }
    unsigned l2(std::initializer_list<u8> code) { return runs(kVmcsRegion, code); }
    unsigned deeper(std::initializer_list<u8> code) { return runs(kOtherVmcs, code); }
    void point_to(u64 region) { machine().poke_value<u64>(kPointer, region); }

    static constexpr u64 kPointer = kGuestStack;
    static constexpr std::initializer_list<u8> kVmptrld{0x0F, 0xC7, 0x30},
        kVmclear{0x66, 0x0F, 0xC7, 0x30}, kVmlaunch{0x0F, 0x01, 0xC2}, kCpuid{0x0F, 0xA2};
};

}  // namespace

TEST_CASE("levels: L3 and L4 on one VMCS are told apart by what L2 and L3 load", "[vmx][trace]") {
    using N = NestedHost;
    constexpr u64 kForL3 = N::kRegions, kForL4 = N::kRegions + 0x1000, kOfL3 = N::kRegions + 0x2000;
    NestedHost m;
    m.point_to(kForL3);
    CHECK(m.l2(N::kVmptrld) == 2);
    CHECK(m.l2(N::kVmlaunch) == 2);
    CHECK(m.deeper(N::kCpuid) == 3);
    m.point_to(kOfL3);
    CHECK(m.deeper(N::kVmptrld) == 3);
    CHECK(m.deeper(N::kVmlaunch) == 3);
    m.point_to(kForL4);
    CHECK(m.l2(N::kVmptrld) == 2);
    CHECK(m.l2(N::kVmlaunch) == 2);
    CHECK(m.deeper(N::kCpuid) == 4);
    CHECK(m.deeper(N::kCpuid) == 4);
    m.point_to(kForL3);
    CHECK(m.l2(N::kVmptrld) == 2);
    CHECK(m.l2(N::kVmlaunch) == 2);
    CHECK(m.deeper(N::kCpuid) == 3);
    // VMCLEAR of a region in use says nothing, of an erased one that something new begins there.
    for (const bool erased : {false, true}) {
        m.machine().poke_value<u64>(kForL4 + 0x100, erased ? 0 : 1);
        m.point_to(kForL4);
        CHECK(m.l2(N::kVmclear) == 2);
        CHECK(m.l2(N::kVmptrld) == 2);
        CHECK(m.l2(N::kVmlaunch) == 2);
        CHECK(m.deeper(N::kCpuid) == (erased ? 3 : 4));
    }
}

TEST_CASE("levels: a VMCS that L1 erased serves a new guest", "[vmx][trace]") {
    using N = NestedHost;
    for (const bool clear : {false, true}) {
        CAPTURE(clear);
        NestedHost m;
        CHECK(m.l2(N::kVmlaunch) == 2);
        CHECK(m.deeper(N::kCpuid) == 3);
        const Vmcs good = m.vmcs();
        (void)m.vmclear(VmxMachine::kOtherVmcs);
        (void)m.vmptrld(VmxMachine::kOtherVmcs);
        CHECK(m.deeper(N::kCpuid) == 3);  // moved to another processor, say
        (void)m.vmclear(VmxMachine::kOtherVmcs);
        for (u64 offset = 8; offset < kPageBytes; offset += 8) {
            m.machine().poke_value<u64>(VmxMachine::kOtherVmcs + offset, 0);
        }
        if (clear) {
            (void)m.vmclear(VmxMachine::kOtherVmcs);
        }
        (void)m.vmptrld(VmxMachine::kOtherVmcs);
        m.vmcs() = good;
        CHECK(m.deeper(N::kCpuid) == 2);
    }
}

TEST_CASE("levels: a VMLAUNCH that was not answered by a deeper guest is forgotten",
          "[vmx][trace]") {
    VmxMachine m;
    m.prepare();
    const Vmcs good = m.vmcs();
    m.guest_code({0x0F, 0x01, 0xC2, 0x0F, 0xA2});  // vmlaunch; cpuid
    REQUIRE(m.run_guest());
    CHECK(m.exited_with(ExitReason::VMLAUNCH));
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode + 3);  // L1 let it fail
    REQUIRE(m.run_guest());
    make_guest(m, VmxMachine::kOtherVmcs, {0x0F, 0xA2}, VmxMachine::kGuestCode + 0x100);  // cpuid
    m.vmcs() = good;
    m.set(&Vmcs::guest_rip, VmxMachine::kGuestCode + 0x100);
    REQUIRE(m.run_guest());
    CHECK(m.vmx().trace.entries(2) == 3);
    CHECK(m.vmx().trace.entries(3) == 0);
}

TEST_CASE(
    "the text trace has reason, words, RIP and the way back; the Chrome trace is one JSON array",
    "[vmx][trace]") {
    std::FILE* text_file = std::tmpfile();
    std::FILE* json_file = std::tmpfile();
    VmxMachine m;
    m.prepare();
    m.guest_code({0x0F, 0x22, 0xD8});  // mov cr3, rax
    m.set(&Vmcs::proc_controls, m.vmcs().proc_controls | proc::kCr3LoadExiting);
    {
        TextExitTrace text(text_file,
                           [](u32, unsigned, u64) { return std::string("mov cr3, rax"); });
        m.vmx().trace.set_sink(&text);
        REQUIRE(m.run_guest());
        REQUIRE(m.run_guest());
        ChromeExitTrace json(json_file);
        m.vmx().trace.set_sink(&json);
        REQUIRE(m.run_guest());
        REQUIRE(m.run_guest());
        m.vmx().trace.set_sink(nullptr);
    }
    const std::string text = contents(text_file);
    CHECK(text.find("L2 CR_ACCESS (MOV to CR3 from RAX = 0x") != std::string::npos);
    CHECK(text.find(") rip 0x10000 [mov cr3, rax] after") != std::string::npos);
    CHECK(text.find("back in L2 after") != std::string::npos);
    const std::string json = contents(json_file);
    CHECK(json.front() == '[');
    CHECK(json.find("\n]\n") != std::string::npos);
    CHECK(json.find(R"("exit":"CR_ACCESS")") != std::string::npos);
    CHECK(json.find(",\n,") == std::string::npos);
    std::fclose(text_file);
    std::fclose(json_file);
}

TEST_CASE("a trace ends at its limit, says so, and JSON stays whole", "[vmx][trace]") {
    std::FILE* text_file = std::tmpfile();
    std::FILE* json_file = std::tmpfile();
    VmExitRecord record;
    Vmcs vmcs;
    record.vmcs = &vmcs;
    record.level = 2;
    record.reason = ExitReason::CPUID;
    {
        TextExitTrace text(text_file, {}, 1000);
        ChromeExitTrace json(
            json_file, [](u32, unsigned, u64) { return std::string("\"\\\n\xFF"); }, 1000);
        for (unsigned i = 0; i < 1000; ++i) {
            for (ExitTraceWriter* writer : std::initializer_list<ExitTraceWriter*>{&text, &json}) {
                writer->vm_exit(record);
                writer->vm_entry(record, 2, 10, 100, 1000);
            }
        }
        CHECK(text.dropped_exits() > 900);
        CHECK(json.written_bytes() < 2000);
    }
    CHECK(contents(text_file).find("more VM exits are not in it") != std::string::npos);
    const std::string json = contents(json_file);
    CHECK(json.ends_with("\n]\n"));
    CHECK(json.find(R"("at":"\"\\??")") != std::string::npos);
    std::fclose(text_file);
    std::fclose(json_file);
}

TEST_CASE("two vCPUs' exits do not mix in one line", "[vmx][trace]") {
    std::FILE* file = std::tmpfile();
    VmExitRecord first;
    Vmcs vmcs;
    first.vmcs = &vmcs;
    first.level = 2;
    first.reason = ExitReason::CPUID;
    VmExitRecord second = first;
    second.vcpu = 1;
    second.reason = ExitReason::HLT;
    {
        TextExitTrace text(file);
        text.vm_exit(first);
        text.vm_exit(second);
        text.vm_entry(first, 2, 11, 110, 0);
        text.vm_entry(second, 2, 22, 220, 0);
        text.vm_exit(first);
    }
    const std::string text = contents(file);
    CHECK(text.find("CPUID rip 0x0 after 0 instructions; back in L2 after 11 ") !=
          std::string::npos);
    CHECK(text.find("HLT rip 0x0 after 0 instructions; back in L2 after 22 ") != std::string::npos);
    CHECK(text.ends_with("CPUID rip 0x0 after 0 instructions\n"));
    std::fclose(file);
}

TEST_CASE("qualifications in words", "[vmx][trace]") {
    Vmcs v;
    v.guest_physical_address = 0xFEE0'0000;
    v.guest_linear_address = 0x1000;
    CHECK(describe_qualification(ExitReason::IO_INSTRUCTION, 8 | u64{0x3F8} << 16, v) ==
          "IN 1 byte, port 0x3f8");
    CHECK(describe_qualification(ExitReason::EPT_VIOLATION, 0x18A, v) ==
          "write of 0xfee00000, EPT allows R--, linear 0x1000");
    CHECK(describe_qualification(ExitReason::EPT_VIOLATION, 0x218A, v) ==
          "shadow-stack write of 0xfee00000, EPT allows R--, linear 0x1000");
    CHECK(describe_qualification(ExitReason::APIC_ACCESS, 0x1300, v) == "write at offset 0x300");
    CHECK(describe_qualification(ExitReason::TASK_SWITCH, 0x28 | u64{3} << 30, v) ==
          "by task gate to TSS 0x0028");
    v.exit_interruption_info = interruption::kValid | interruption::kErrorCodeValid | 3U << 8 | 14;
    v.exit_interruption_error_code = 2;
    CHECK(describe_qualification(ExitReason::EXCEPTION_OR_NMI, 0x5000, v) ==
          "vector 14, hardware exception, error code 0x2, 0x5000");
}

TEST_CASE("the dump names groups, fields and bits; with a former VMCS it shows what changed",
          "[vmx][trace]") {
    VmxMachine m;
    m.prepare();
    Vmcs before = m.vmcs();
    m.vmcs().pin_controls |= pin::kNmiExiting;
    m.vmcs().guest_rip = 0x1234;
    const std::string text = dump_vmcs(m.vmcs(), m.vmx().caps, VmxMachine::kVmcsRegion, &before);
    for (const char* part :
         {"Guest-state area", "VM-execution control fields", "NMI exiting", "Guest RIP",
          "(was 0x10000)", "type 11 code/data DPL 0 P L G", "PE | MP | ET | NE | WP | AM | PG"}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
    const std::string diff = diff_vmcs(before, m.vmcs(), m.vmx().caps);
    CHECK(std::count(diff.begin(), diff.end(), '\n') == 2);
}

TEST_CASE("a failed entry can dump the VMCS with its difference to the last good entry",
          "[vmx][trace]") {
    VmxMachine m;
    m.vmx().dump_failed_entries = true;
    m.prepare();
    m.guest_code({0x0F, 0xA2});  // cpuid
    REQUIRE(m.run_guest());
    m.set(&Vmcs::guest_rflags, 8);
    (void)m.run_guest();
    CHECK(m.exit_reason() == 0x8000'0021);
    const std::string text = m.log_text();
    CHECK(text.find("guest RFLAGS reserved bits") != std::string::npos);
    CHECK(text.find("(was 0x2)") != std::string::npos);
    CHECK(text.find("Changed since the last good VM entry\n") != std::string::npos);
}

TEST_CASE("a failed entry reaches the sink of --vmcs-dump without the log", "[vmx][trace]") {
    struct Sink final : FailedEntrySink {
        std::string explanation, dump;
        void failed_entry(const std::string& why, const std::string& what) override {
            explanation = why;
            dump = what;
        }
    } sink;
    VmxMachine m;
    m.vmx().dump_failed_entries = true;
    m.vmx().failed_entry_sink = &sink;
    m.prepare();
    m.set(&Vmcs::ept_pointer, 0x5F);
    m.set(&Vmcs::proc_controls, m.vmcs().proc_controls | proc::kActivateSecondary);
    m.set(&Vmcs::proc2_controls, m.vmcs().proc2_controls | proc2::kEnableEpt);
    (void)m.vmlaunch();
    CHECK(sink.explanation.find("L1 rip") != std::string::npos);
    CHECK(sink.explanation.find("VM entry to L2 failed (VMCS 0x9000)") != std::string::npos);
    CHECK(sink.explanation.find("201AH EPT pointer (EPTP) = 0x5f  [bits 2:0 = 6") !=
          std::string::npos);
    CHECK(sink.dump.find("VMCS at 0x9000") != std::string::npos);
    CHECK(sink.dump.starts_with("No VM entry with this VMCS has succeeded yet\n"));
}

TEST_CASE("wrong bits of a control word are named", "[vmx][trace]") {
    VmxMachine m;
    m.prepare();
    m.set(&Vmcs::guest_cr0, u64{0x1'8000'0001});
    (void)m.vmlaunch();
    CHECK(m.log_text().find("missing 0x20 (NE), not allowed 0x100000000") != std::string::npos);
}

TEST_CASE("a failed MSR load names the entry, the MSR and the rule", "[vmx][trace]") {
    VmxMachine m;
    m.prepare();
    m.machine().poke_value<u64>(VmxMachine::kMsrLists, 0xC000'0100);  // FS base: never
    m.vmcs().entry_msr_load_address = VmxMachine::kMsrLists;
    m.set(&Vmcs::entry_msr_load_count, 1);
    (void)m.vmlaunch();
    const std::string text = m.log_text();
    for (const char* part : {"VM-entry MSR-load area, entry 1", "Loading MSRs", "exit reason 34",
                             "MSR 0xc0000100, reserved 0x0"}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
}

TEST_CASE("failed and faulting VMX instructions say where, why and what is allowed",
          "[vmx][trace]") {
    VmxMachine m;
    m.prepare();
    u64 value = 0;
    (void)m.vmread(0x2FFE, value);
    (void)m.invvpid(1, 0, 0);
    (void)m.vmxon();
    m.cpu().mode.cpl = 3;
    (void)m.vmclear(VmxMachine::kOtherVmcs);
    const std::string text = m.log_text();
    for (const char* part :
         {"VMREAD failed: VMREAD/VMWRITE from/to unsupported VMCS component; encoding 0x2ffe is no "
          "field",
          "error 12", "types 0, 1, 2, 3; VPID not 0", "after VMXOFF",
          "VMCLEAR raises #GP(0): in VMX operation, CR4.VMXE 1, 64-bit mode, CPL 3",
          "\"VMCLEAR—Clear Virtual-Machine Control Structure\""}) {
        CAPTURE(part);
        CHECK(text.find(part) != std::string::npos);
    }
}

// The levels VM exits are attributed to, against a ground truth: each level of the built-in ROM
// lies in 2 MiB of its own, so where a guest's code lies says which level it is (docs/vmx/rom.md).

#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/cli/command_line.hpp"
#include "frontends/machine/pc.hpp"
#include "frontends/machine/run_loop.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace droste {
namespace {

class LevelJudge final : public VmExitSink {
  public:
    explicit LevelJudge(Vcpu& cpu) : cpu_(cpu) {}

    u64 wrong = 0;
    std::array<u64, kMaxLevels> exits{};

    void vm_exit(const VmExitRecord& record) override {
        constexpr u64 kLevelBytes = u64{2} << 20;
        const u64 linear = cpu_.state.seg[CS].base + record.guest_rip;
        PhysAddr physical = 0;
        REQUIRE(translate_for_debug(cpu_, linear, physical));
        const u64 level = physical / kLevelBytes + 1;
        REQUIRE(level < kMaxLevels);
        ++exits[level];
        wrong += record.level != level ? 1 : 0;
    }
    void vm_entry(const VmExitRecord&, unsigned, u64, u64, u64) override {}

  private:
    Vcpu& cpu_;
};

class NoIo final : public NativeIo {
  public:
    void serve(u64 /*timeout_ns*/) override {}
    bool output_blocked() const override { return false; }
    bool interactive() const override { return false; }
};

}  // namespace

TEST_CASE("VM exits of the ROM's levels are attributed to where their code lies", "[vmx][trace]") {
    struct Row {
        unsigned levels;
        const char* more;
    };
    // With the protocol of its own in place of VMPTRLD, and without.
    for (const auto& [levels, more] : {Row{2, ""}, Row{3, ""}, Row{4, ""}, Row{6, ""}, Row{8, ""},
                                       Row{3, " plain"}, Row{4, " plain"}, Row{5, " plain"}}) {
        CAPTURE(levels, more);
        const std::string append = "levels=" + std::to_string(levels) + more;
        const std::vector<std::string_view> arguments = {"-append", append, "-display", "none",
                                                         "-serial", "null", "--icount"};
        auto line = cli::parse_command_line(arguments, 0, 0);
        REQUIRE(line);
        Log log;
        RunControl control;
        NoIo io;
        auto created = Pc::create(line.value().machine, log, control);
        REQUIRE(created);
        Pc& pc = *created.value();
        LevelJudge judge(*pc.vcpus()[0]);
        pc.vmx()[0]->trace.set_sink(&judge);
        RunLoop(pc, io, control, RunLimits{}).run();
        CHECK(control.reason() == EndReason::PowerOff);
        CHECK(judge.wrong == 0);
        for (unsigned level = 2; level <= levels; ++level) {
            CAPTURE(level);
            CHECK(judge.exits[level] > 0);
            CHECK(pc.vmx()[0]->trace.entries(level) > 0);
        }
        CHECK(judge.exits[levels + 1] == 0);
    }
}

}  // namespace droste

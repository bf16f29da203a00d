// Whole machines: a kernel runs, ends, resets, pauses; two machines in one process.

#include "core/char_backend.hpp"
#include "cpu/x86/model/cpu_models.hpp"
#include "frontends/headless/machine_report.hpp"
#include "frontends/machine/pc.hpp"
#include "frontends/machine/run_loop.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

namespace droste {
namespace {

// A multiboot kernel at 1 MiB whose code follows the header.
class KernelFile {
  public:
    explicit KernelFile(const std::vector<u8>& code)
        : path_("/tmp/droste-unit-" + std::to_string(getpid()) + "-" + std::to_string(serial())) {
        constexpr u32 kMagic = 0x1BAD'B002, kFlags = 1U << 16;
        Record image(0);
        image.append(4, kMagic);
        image.append(4, kFlags);
        image.append(4, static_cast<u32>(-(kMagic + kFlags)));
        for (const u32 address : {0x10'0000U, 0x10'0000U, 0U, 0U, 0x10'0020U}) {
            image.append(4, address);
        }
        image.append(std::span<const u8>(code));
        std::ofstream(path_, std::ios::binary)
            .write(reinterpret_cast<const char*>(image.bytes().data()),
                   static_cast<std::streamsize>(image.size()));
    }
    ~KernelFile() { std::remove(path_.c_str()); }
    KernelFile(const KernelFile&) = delete;
    KernelFile& operator=(const KernelFile&) = delete;
    const std::string& path() const { return path_; }

  private:
    static int serial() {
        static std::atomic<int> next{0};
        return next++;
    }
    std::string path_;
};

// Prints `letter` `count` times on the debug console, then switches off:
//   mov ecx, count / mov al, letter / again: out 0E9h, al / loop again
//   mov dx, 604h / mov ax, 2000h / out dx, ax / jmp $
std::vector<u8> printing_code(char letter, u16 count) {
    return {0xB9,
            static_cast<u8>(count),
            static_cast<u8>(count >> 8),
            0,
            0,
            0xB0,
            static_cast<u8>(letter),
            0xE6,
            0xE9,
            0xE2,
            0xFC,
            0x66,
            0xBA,
            0x04,
            0x06,
            0x66,
            0xB8,
            0x00,
            0x20,
            0x66,
            0xEF,
            0xEB,
            0xFE};
}

class Printed final : public CharBackend {
  public:
    void write(std::span<const u8> bytes) override { text.append(bytes.begin(), bytes.end()); }
    void set_receiver(CharReceiver* /*receiver*/) override {}
    std::string text;
};

// Nothing outside; a machine that only waits is ended. One whose clock still ticks waits without
// sleeping, so being asked often is taken for waiting: for one that works, the patience must do for
// as many milliseconds as it may take on a slow machine.
class NoIo final : public NativeIo {
  public:
    explicit NoIo(RunControl& control) : control_(control) {}
    void serve(u64 timeout_ns) override {
        ++served_;
        if (timeout_ns != 0 || served_ > patience) {
            control_.end(EndReason::Quit);
        }
    }
    bool output_blocked() const override { return false; }
    bool interactive() const override { return false; }

    unsigned patience = 50;

  private:
    RunControl& control_;
    unsigned served_ = 0;
};

// A machine with everything it borrows.
struct TestPc {
    Log log;
    RunControl control;
    Printed printed;
    NoIo io{control};
    std::unique_ptr<Pc> pc;

    explicit TestPc(const std::string& kernel, u32 vcpus = 1) {
        MachineConfig config;
        config.ram_bytes = u64{8} << 20;
        config.vcpu_count = vcpus;
        config.clock_mode = Clock::Mode::Counting;
        config.cpu = parse_cpu_model(kDefaultCpuModel).value();
        config.boot.kernel = kernel;
        config.devices.push_back(debug_console_request(0xE9, printed));
        auto created = Pc::create(config, log, control);
        REQUIRE(created);
        pc = std::move(created).value();
    }
    void run(const RunLimits& limits = {}) { RunLoop(*pc, io, control, limits).run(); }
};

TEST_CASE("Machine: a kernel runs, prints and switches the machine off") {
    const KernelFile kernel(printing_code('a', 5));
    TestPc machine(kernel.path());
    machine.run();
    CHECK(machine.control.reason() == EndReason::PowerOff);
    CHECK(machine.printed.text == "aaaaa");
}

TEST_CASE("Machine: two run at the same time in one process, and know nothing of each other") {
    const KernelFile first_kernel(printing_code('1', 50'000));
    const KernelFile second_kernel(printing_code('2', 60'000));
    TestPc first(first_kernel.path());
    TestPc second(second_kernel.path(), 3);
    std::thread other([&] { second.run(); });
    first.run();
    other.join();
    CHECK(first.printed.text == std::string(50'000, '1'));
    CHECK(second.printed.text == std::string(60'000, '2'));
    CHECK(first.control.reason() == EndReason::PowerOff);
    CHECK(second.control.reason() == EndReason::PowerOff);
}

TEST_CASE("Machine: a reset carries out the boot plan again, even over changed memory") {
    // mov dword [100020h], -1 / hlt: destroys its own first bytes.
    const KernelFile kernel({0xC7, 0x05, 0x20, 0x00, 0x10, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xF4});
    TestPc machine(kernel.path());
    const auto first_byte = [&] {
        u8 byte = 0;
        CHECK(machine.pc->memory().read(0x10'0020, std::span<u8>(&byte, 1)));
        return byte;
    };
    machine.run();
    CHECK(machine.control.reason() == EndReason::Quit);
    CHECK(first_byte() == 0xFF);
    machine.pc->reset();
    CHECK(first_byte() == 0xC7);
    CHECK(machine.pc->vcpus()[0]->state.rip() == 0x10'0020);
}

TEST_CASE("Machine: the statistics count the blocks that rewritten code cost") {
    const KernelFile kernel({0xB9, 10,   0,    0,    0,     // mov ecx, 10
                             0x88, 0x0D, 0x33, 0x00, 0x10,  // l: mov [100033h], cl
                             0x00,                          //
                             0xEB, 0x05,                    // jmp 100032h
                             0x90, 0x90, 0x90, 0x90, 0x90,  // 5 * nop
                             0xB0, 0x00,                    // 100032h: mov al, 0
                             0xE2, 0xEF,                    // loop l
                             0xF4});                        // hlt
    TestPc machine(kernel.path());
    machine.run();
    CHECK((machine.pc->vcpus()[0]->state.gpr[RAX] & 0xFF) == 1);
    const std::string text = describe_counters(*machine.pc, std::nullopt);
    const std::size_t row = text.find("blocks invalidated");
    REQUIRE(row != std::string::npos);
    // Nine blocks of the rounds before; the first store comes before there is one.
    CHECK(std::stoul(text.substr(row + std::string("blocks invalidated").size())) == 9);
}

TEST_CASE("Machine: -no-shutdown pauses at the instruction that switches off") {
    const KernelFile kernel(printing_code('x', 1));
    TestPc machine(kernel.path());
    RunLimits limits;
    limits.shutdown_allowed = false;
    machine.run(limits);
    CHECK(machine.control.paused());
    CHECK(machine.control.reason() == EndReason::Quit);
}

TEST_CASE("Machine: with --icount a run retires the same number of instructions each time") {
    const KernelFile kernel(printing_code('n', 12'345));
    TestPc first(kernel.path(), 2);
    TestPc second(kernel.path(), 2);
    first.run();
    second.run();
    CHECK(first.pc->vcpus()[0]->icount > 24'690);
    CHECK(first.pc->vcpus()[0]->icount == second.pc->vcpus()[0]->icount);
    CHECK(first.pc->clock().now_ns() == second.pc->clock().now_ns());
}

namespace {

// Starts the application processor at 8000h with `code` (up to 8 bytes of real mode; the byte at
// 8100h is 0), waits until that byte is `until`, prints Y if this took less than 10,000
// instructions' time and N otherwise, and switches off.
std::vector<u8> starting_code(const std::array<u8, 8>& code, u8 until) {
    return {0xC7,    0x05,    0x00,    0x80, 0x00, 0x00, code[0],
            code[1], code[2], code[3],  // MOV [8000h], ..
            0xC7,    0x05,    0x04,    0x80, 0x00, 0x00, code[4],
            code[5], code[6], code[7],                          // MOV [8004h], ..
            0xC6,    0x05,    0x00,    0x81, 0x00, 0x00, 0x00,  // MOV byte [8100h], 0
            0xC7,    0x05,    0xF0,    0x00, 0xE0, 0xFE, 0xFF,
            0x01,    0x00,    0x00,  // APIC SVR: enabled
            0x0F,    0x31,           // RDTSC
            0x89,    0xC3,           // MOV EBX, EAX
            0xC7,    0x05,    0x00,    0x03, 0xE0, 0xFE, 0x08,
            0x46,    0x0C,    0x00,                              // ICR: SIPI 08h, to all others
            0x80,    0x3D,    0x00,    0x81, 0x00, 0x00, until,  // CMP byte [8100h], until
            0x72,    0xF7,                                       // JB to the CMP
            0x0F,    0x31,                                       // RDTSC
            0x29,    0xD8,                                       // SUB EAX, EBX
            0x3D,    0xA0,    0x86,    0x01, 0x00,               // CMP EAX, 100000
            0xB0,    'Y',                                        // MOV AL, 'Y'
            0x72,    0x02,                                       // JB over the next
            0xB0,    'N',                                        // MOV AL, 'N'
            0xE6,    0xE9,                                       // OUT 0E9h, AL
            0x66,    0xBA,    0x04,    0x06, 0x66, 0xB8, 0x00,
            0x20,    0x66,    0xEF,  // OUT 604h, 2000h: off
            0xEB,    0xFE};          // JMP $
}

}  // namespace

TEST_CASE("Machine: a message that wakes another CPU ends the sender's turn") {
    // INC byte CS:[0100h]; HLT
    const KernelFile kernel(starting_code({0x2E, 0xFE, 0x06, 0x00, 0x01, 0xF4}, 1));
    TestPc machine(kernel.path(), 2);
    machine.run();
    CHECK(machine.control.reason() == EndReason::PowerOff);
    CHECK(machine.printed.text == "Y");
}

TEST_CASE("Machine: with --icount, stops from outside do not show in how CPUs take turns") {
    // INC byte CS:[0100h]; JMP to it: wraps for ever
    const KernelFile kernel(starting_code({0x2E, 0xFE, 0x06, 0x00, 0x01, 0xEB, 0xF9}, 200));
    std::array<u64, 2> expected{};
    for (const bool disturbed : {false, true}) {
        TestPc machine(kernel.path(), 2);
        machine.io.patience = 100'000;
        std::atomic<bool> over = false;
        std::thread ticks([&] {
            while (disturbed && !over) {
                machine.control.tick();
            }
        });
        machine.run();
        over = true;
        ticks.join();
        const std::array<u64, 2> retired = {machine.pc->vcpus()[0]->icount,
                                            machine.pc->vcpus()[1]->icount};
        if (disturbed) {
            CHECK(retired == expected);
        }
        expected = retired;
    }
}

TEST_CASE("Machine: two devices on one port are refused, both named") {
    const KernelFile kernel(printing_code('x', 1));
    Log log;
    RunControl control;
    MachineConfig config;
    config.cpu = parse_cpu_model(kDefaultCpuModel).value();
    config.boot.kernel = kernel.path();
    config.devices.push_back(debug_exit_request(0x64, 2));
    const auto created = Pc::create(config, log, control);
    REQUIRE_FALSE(created);
    CHECK_THAT(created.error().message,
               Catch::Contains("8042") && Catch::Contains("isa-debug-exit"));
}

TEST_CASE("Machine: the registers tell of control-flow enforcement where it is on") {
    const KernelFile kernel(printing_code('x', 1));
    Log log;
    RunControl control;
    MachineConfig config;
    config.cpu = parse_cpu_model("max").value();
    config.boot.kernel = kernel.path();
    auto created = Pc::create(config, log, control);
    REQUIRE(created);
    CpuState& s = created.value()->vcpus().front()->state;
    s.ssp = 0x7FFF'1238;
    s.s_cet = 4;
    CHECK_THAT(describe_registers(*created.value()), !Catch::Contains("SSP="));
    s.cr4 |= cr4::kCet;
    CHECK_THAT(describe_registers(*created.value()),
               Catch::Contains("SSP=000000007fff1238 S_CET=4 U_CET=0"));
}

}  // namespace
}  // namespace droste

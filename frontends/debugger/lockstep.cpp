#include "frontends/debugger/lockstep.hpp"

#include "core/event_queue.hpp"
#include "cpu/x86/mmu/paging.hpp"
#include "cpu/x86/vcpu.hpp"
#include "frontends/debugger/cpu_difference.hpp"
#include "frontends/debugger/dead_status.hpp"
#include "frontends/debugger/guest_code.hpp"
#include "frontends/debugger/memory_compare.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include <cpuid.h>
#include <fmt/format.h>

namespace droste {

namespace {

class FollowedEngine final : public ExecutionEngine {
  public:
    explicit FollowedEngine(Lockstep& lockstep) : lockstep_(lockstep) {}
    void set_inner(std::unique_ptr<ExecutionEngine> inner) { inner_ = std::move(inner); }
    RunResult run(Vcpu& cpu, u64 budget) override { return lockstep_.run(cpu, *inner_, budget); }

  private:
    Lockstep& lockstep_;
    std::unique_ptr<ExecutionEngine> inner_;
};

// Translated code has the native CPU's status flags where the manual leaves them undefined, the
// interpreter AMD Zen's (docs/x86/undefined.md). Elsewhere a difference in them says nothing.
u64 comparable_status_flags() {
    constexpr u32 kAuthentic = 0x6874'7541, kFirstZen = 0x17;
    u32 eax = 0;
    u32 ebx = 0;
    u32 ecx = 0;
    u32 edx = 0;
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) == 0 || ebx != kAuthentic ||
        __get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) {
        return 0;
    }
    const u32 family = (eax >> 8 & 0xF) + (eax >> 20 & 0xFF);
    return family >= kFirstZen ? rflags::kStatus : 0;
}

bool event_is_put_off(const Vcpu& cpu) {
    return (cpu.attention.load(std::memory_order_relaxed) & attention::kUndelivered) != 0;
}

}  // namespace

Lockstep::Lockstep(const LockstepOptions& options, const MachineConfig& leader)
    : options_(options)
    , config_(leader) {
    config_.accelerator = Accelerator::Interpreter;
    config_.translator.listener = nullptr;
}

Lockstep::~Lockstep() = default;

void Lockstep::connect(MachineConfig& leader) {
    for (std::size_t i = 0; i < leader.serial.size(); ++i) {
        if (leader.serial[i] != nullptr) {
            twins_.push_back(std::make_unique<CharTwin>(*leader.serial[i]));
            leader.serial[i] = &twins_.back()->leader();
            config_.serial[i] = &twins_.back()->follower();
        }
    }
}

void Lockstep::add_debug_console(u16 port, const std::string& id) {
    DeviceRequest request = debug_console_request(port, no_output_);
    if (!id.empty()) {
        request.id = id;
    }
    config_.devices.push_back(std::move(request));
}

Expected<void> Lockstep::start(Pc& leader, RunControl& control) {
    auto created = Pc::create(config_, log_, follower_control_);
    if (!created) {
        return created.error();
    }
    follower_ = std::move(created).value();
    leader_ = &leader;
    control_ = &control;
    exits_ = std::make_unique<LockstepExits>(leader, *follower_);
    for (const auto& cpu : leader.vcpus()) {
        auto followed = std::make_unique<FollowedEngine>(*this);
        FollowedEngine& engine = *followed;
        engine.set_inner(leader.exchange_engine(*cpu, std::move(followed)));
    }
    return {};
}

void Lockstep::events_ran() {
    follower_->events().run_due();
}

void Lockstep::time_advanced_to(u64 deadline_ns) {
    follower_->clock().advance_to(deadline_ns);
}

void Lockstep::was_reset() {
    follower_->reset();
}

void Lockstep::translated(Vcpu& cpu, const jit::TranslationReport& report) {
    if (options_.each) {
        translations_[{report.rip, cpu.mode.code_bits}] = copy_translation(cpu, report);
    }
}

void Lockstep::left(Vcpu& cpu, u64 rip) {
    if (options_.each && !differs()) {
        translation_rip_ = rip;
        follow(cpu);
    }
}

RunResult Lockstep::run(Vcpu& cpu, ExecutionEngine& engine, u64 budget) {
    if (differs()) {
        return RunResult::Stopped;
    }
    Vcpu& twin = *follower_->vcpus()[cpu.index];
    drive_clock(twin);
    agreed_icount_ = cpu.icount;
    agreed_rip_ = twin.state.rip();
    u64 left = budget;
    while (true) {
        u64 most = options_.each ? left : std::min(left, options_.every);
        if (options_.flip && *options_.flip > cpu.icount) {
            most = std::min(most, *options_.flip - cpu.icount);
        }
        const u64 before = cpu.icount;
        translation_rip_.reset();
        const RunResult result = engine.run(cpu, most);
        left -= std::min(left, cpu.icount - before);
        if (!differs()) {
            translation_rip_.reset();
            follow(cpu);
        }
        if (differs()) {
            return RunResult::Stopped;
        }
        flip_if_due(cpu);
        if (result != RunResult::BudgetSpent || left == 0) {
            return result;
        }
    }
}

// The follower's vCPU to where the leader's is.
void Lockstep::follow(Vcpu& cpu) {
    Vcpu& twin = *follower_->vcpus()[cpu.index];
    while (twin.icount < cpu.icount) {
        const u64 before = twin.icount;
        follower_->engine(twin).run(twin, cpu.icount - before);
        if (twin.icount == before) {
            break;
        }
    }
    // An event at the end of a budget waits for the next one; the budgets' ends are not the same.
    if (event_is_put_off(cpu) != event_is_put_off(twin)) {
        return;
    }
    instructions_ += cpu.icount - agreed_icount_;
    compare(cpu, twin);
    agreed_icount_ = cpu.icount;
    agreed_rip_ = twin.state.rip();
}

void Lockstep::compare(Vcpu& cpu, Vcpu& twin) {
    static const u64 kStatusFlags = comparable_status_flags();
    ++comparisons_;
    excuse_dead_status(cpu, twin);
    std::string text = describe_difference(cpu.state, twin.state, kStatusFlags);
    if (cpu.icount != twin.icount) {
        text +=
            fmt::format("  {:<28} {}  interpreted {}\n", "instructions", cpu.icount, twin.icount);
    }
    compare_memory_near(cpu, twin, text);
    if (instructions_ - memory_compared_at_ >= options_.memory) {
        compare_all_memory(twin, text);
    }
    if (std::any_of(twins_.begin(), twins_.end(), [](const auto& t) { return t->differs(); })) {
        text += "  what a serial port sends\n";
    }
    if (!text.empty()) {
        give_up(cpu, twin, text);
    }
}

std::string Lockstep::describe_memory(PhysAddr address) const {
    constexpr u64 kShown = 16;
    const PhysAddr first = address & ~(kShown - 1);
    std::array<u8, kShown> ours{};
    std::array<u8, kShown> theirs{};
    leader_->memory().read(first, ours);
    follower_->memory().read(first, theirs);
    return fmt::format("  memory at {:#x}: {:02x}\n  {:>{}} {:02x}\n", first, fmt::join(ours, " "),
                       "interpreted:", fmt::format("memory at {:#x}:", first).size(),
                       fmt::join(theirs, " "));
}

void Lockstep::excuse_dead_status(Vcpu& cpu, Vcpu& twin) {
    // In the handler of an event that came where they were dead: its frame says where, with an error
    // code on top or without, and below the registers that the handler has saved.
    constexpr u64 kFirst = 16;
    constexpr u64 kMostSaved = 24 * 8;
    for (u64 behind = kFirst; behind <= kFirst + kMostSaved; behind += 8) {
        const u64 image = twin.state.gpr[RSP] + behind;
        PhysAddr at = 0;
        if (cpu.state.flags.status() != twin.state.flags.status() &&
            translate_for_debug(twin, image, at) &&
            first_difference(leader_->memory(), follower_->memory(), at & ~u64{7}, 8) &&
            excuse_image(twin, at)) {
            twin.state.flags = cpu.state.flags;
        }
    }
    const u64 differing = cpu.state.flags.status() ^ twin.state.flags.status();
    if (differing != 0 && cpu.state.rip() == twin.state.rip() &&
        (differing & live_status(twin, twin.state.rip())) == 0) {
        twin.state.flags = cpu.state.flags;
        ++excused_;
    }
    for (std::size_t i = 0; i < 16; ++i) {
        const u64 ours = cpu.state.gpr[i];
        u64& theirs = twin.state.gpr[i];
        if (ours != theirs && images_of_rflags(ours, theirs) && (ours & rflags::kIf) != 0) {
            theirs = ours;
            ++excused_;
        }
    }
}

// An image of RFLAGS in memory: in an event's frame, behind RIP and CS, or where a hypervisor keeps
// its guest's.
bool Lockstep::excuse_image(Vcpu& twin, PhysAddr address) {
    constexpr u64 kBehindRip = 16;
    const PhysAddr at = address & ~u64{7};
    std::array<u8, 8> ours{};
    std::array<u8, 8> theirs{};
    std::array<u8, 8> rip{};
    leader_->memory().read(at, ours);
    follower_->memory().read(at, theirs);
    const auto value = [](const std::array<u8, 8>& bytes) {
        u64 number = 0;
        std::memcpy(&number, bytes.data(), sizeof(number));
        return number;
    };
    if (!images_of_rflags(value(ours), value(theirs))) {
        return false;
    }
    const bool framed = at % kPageBytes >= kBehindRip &&
                        leader_->memory().read(at - kBehindRip, rip) &&
                        ((value(ours) ^ value(theirs)) & live_status(twin, value(rip))) == 0;
    if (!framed && (value(ours) & rflags::kIf) == 0) {
        return false;
    }
    ++excused_;
    return follower_->memory().write(at, ours);
}

// Around what the registers point to, as far as it is in the TLB: a store that went wrong is most
// likely seen there long before all of RAM is compared.
bool Lockstep::compare_memory_near(Vcpu& cpu, Vcpu& twin, std::string& text) {
    const DataTlb& tlb = *cpu.mode.data_tlb;
    const u64 around = options_.each ? 256 : kPageBytes;
    for (unsigned number = 0; number < 16; ++number) {
        const u64 address = cpu.state.gpr[number];
        if (!tlb.hits_read(address, 1)) {
            continue;
        }
        const PhysAddr page = tlb.page(DataTlb::index(address)) & kPageMask;
        const PhysAddr first = page + (address % kPageBytes & ~(around - 1));
        while (const auto at = first_difference(leader_->memory(), follower_->memory(), first,
                                                static_cast<std::size_t>(around))) {
            if (!excuse_image(twin, *at)) {
                text += describe_memory(*at);
                return true;
            }
        }
    }
    return false;
}

bool Lockstep::compare_all_memory(Vcpu& twin, std::string& text) {
    const u64 since = instructions_ - memory_compared_at_;
    memory_compared_at_ = instructions_;
    auto at = first_difference(leader_->memory(), follower_->memory());
    while (at && excuse_image(twin, *at)) {
        at = first_difference(leader_->memory(), follower_->memory());
    }
    if (at) {
        text += describe_memory(*at);
        text += fmt::format("  (all of RAM was last compared {} instructions ago)\n", since);
    }
    return at.has_value();
}

void Lockstep::flip_if_due(Vcpu& cpu) {
    if (!options_.flip || cpu.index != 0 || cpu.icount < *options_.flip) {
        return;
    }
    options_.flip.reset();
    if (options_.flip_address) {
        u8 byte = 0;
        leader_->memory().read(*options_.flip_address, {&byte, 1});
        byte ^= 1;
        leader_->memory().write(*options_.flip_address, {&byte, 1});
        return;
    }
    cpu.state.gpr[R15] ^= 1;
}

std::string Lockstep::describe_code(Vcpu& twin) {
    const auto found = translation_rip_
                           ? translations_.find({*translation_rip_, twin.mode.code_bits})
                           : translations_.end();
    if (found != translations_.end()) {
        return fmt::format("The translation at {:#x} was run:\n{}", *translation_rip_,
                           list_native_code(disassembler_, found->second));
    }
    constexpr unsigned kShown = 12;
    std::string text = fmt::format("Since {:#x}:\n", agreed_rip_);
    u64 rip = agreed_rip_;
    for (unsigned i = 0; i < kShown; ++i) {
        const CodeBytes code = fetch_code(twin, rip);
        std::string insn;
        const std::size_t length = disassembler_.next(
            std::span<const u8>(code.bytes).first(code.count), twin.mode.code_bits, rip, insn);
        if (length == 0) {
            break;
        }
        text += fmt::format("  {:#018x}  {}\n", rip, insn);
        rip += length;
    }
    if (!options_.each) {
        text += "--lockstep each compares behind each translation, and shows it.\n";
    }
    return text;
}

void Lockstep::give_up(Vcpu& cpu, Vcpu& twin, const std::string& what) {
    report_ =
        fmt::format("lockstep: vCPU {} is not the same on translator and interpreter after {} "
                    "instructions; {} before it was\n{}{}",
                    cpu.index, cpu.icount, cpu.icount - agreed_icount_, what, describe_code(twin));
    control_->end(EndReason::Difference);
    cpu.request(attention::kStop);
}

void Lockstep::finish() {
    if (differs() || follower_ == nullptr) {
        return;
    }
    std::string text;
    if (compare_all_memory(*follower_->vcpus().front(), text)) {
        report_ = "lockstep: memory is not the same at the end\n" + text;
    }
}

std::string Lockstep::summary() const {
    return fmt::format(
        "lockstep: {} instructions, {} comparisons, {} of dead status flags let pass{}",
        instructions_, comparisons_, excused_ + (exits_ == nullptr ? 0 : exits_->excused()),
        differs() ? "" : ", no difference");
}

}  // namespace droste

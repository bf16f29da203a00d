#pragma once
// Some vCPUs on one interrupt-message bus, with time that the test moves. No code runs.

#include "core/bus.hpp"
#include "core/clock.hpp"
#include "core/event_queue.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/apic/apic_bus_x86.hpp"
#include "cpu/x86/apic/apic_registers.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/model/cpu_models.hpp"
#include "cpu/x86/vcpu.hpp"

#include <memory>
#include <string_view>
#include <vector>

namespace droste::test {

namespace reg = apic_reg;

// Every feature, whatever the native CPU can run: nothing is executed here.
inline CpuFeatures features_of(std::string_view spec) {
    return parse_cpu_model(spec, FeatureSet{}.set()).value();
}

class ApicMachine {
  public:
    static constexpr u64 kX2apicOn = 0xC00;  // IA32_APIC_BASE: EN and EXTD

    explicit ApicMachine(u32 vcpu_count = 1, std::string_view model = "max")
        : features_(features_of(model)) {
        features_.vcpu_count = vcpu_count;
        memory_ = GuestMemory::create(1U << 20).value();
        for (u32 i = 0; i < vcpu_count; ++i) {
            cpus_.push_back(std::make_unique<Vcpu>(
                i, Vcpu::Wiring{*memory_, bus_, clock_, events_, log_}, features_));
            cpus_[i]->apic_bus = &apic_bus_;
            apic_bus_.attach(apic(i));
        }
        clock_.set_counter(&cpus_[0]->icount);
    }
    ~ApicMachine() { clock_.set_counter(nullptr); }

    Vcpu& cpu(u32 i = 0) { return *cpus_[i]; }
    LocalApic& apic(u32 i = 0) { return *cpus_[i]->apic; }
    LocalApicBus& apic_bus() { return apic_bus_; }
    Log& log() { return log_; }
    u64 now_ns() { return clock_.now_ns(); }

    void enable(u32 i = 0) { write(reg::kSvr, 0x1FF, i); }
    void enable_x2apic(u32 i = 0) { (void)apic(i).write_base_msr(apic(i).base_msr() | kX2apicOn); }
    u32 read(u32 offset, u32 i = 0) { return apic(i).mmio_read(offset, 4); }
    void write(u32 offset, u32 value, u32 i = 0) { apic(i).mmio_write(offset, 4, value); }
    void send(u32 icr_low, u32 destination = 0, u32 i = 0) {
        write(reg::kIcrHigh, destination << 24, i);
        write(reg::kIcrLow, icr_low, i);
    }
    bool requested(u32 attention_bit, u32 i = 0) {
        return (cpu(i).attention.load() & attention_bit) != 0;
    }
    // Does the vector wait in IRR?
    bool in_irr(u8 vector, u32 i = 0) { return bit_of(reg::kIrr, vector, i); }
    bool in_isr(u8 vector, u32 i = 0) { return bit_of(reg::kIsr, vector, i); }
    void interrupt(u8 vector, bool level = false, u32 i = 0) {
        InterruptMessage message;
        message.vector = vector;
        message.level_triggered = level;
        apic(i).accept(message);
    }
    // Lets `ns` pass in the clock's steps, firing what falls due on the way.
    void pass(u64 ns) {
        const u64 end = clock_.now_ns() + ns;
        while (clock_.now_ns() < end) {
            ++cpus_[0]->icount;
            events_.run_due();
        }
    }
    // Time jumps, as when a vCPU could not run.
    void jump(u64 ns) {
        constexpr u64 kLongestStretch = 1'000'000'000'000;  // of one Clock base
        while (ns != 0) {
            const u64 stretch = ns < kLongestStretch ? ns : kLongestStretch;
            cpus_[0]->icount += stretch / Clock::kCountingNsPerInsn;
            clock_.set_counter(&cpus_[0]->icount);
            ns -= stretch;
        }
        events_.run_due();
    }

  private:
    bool bit_of(u32 base, u8 vector, u32 i) {
        return ((apic(i).register_at(base + vector / 32 * 16U) >> (vector % 32)) & 1) != 0;
    }

    Log log_;
    Clock clock_{Clock::Mode::Counting};
    EventQueue events_{clock_};
    Bus bus_{log_};
    LocalApicBus apic_bus_{log_};
    CpuFeatures features_;
    std::unique_ptr<GuestMemory> memory_;
    std::vector<std::unique_ptr<Vcpu>> cpus_;
};

}  // namespace droste::test

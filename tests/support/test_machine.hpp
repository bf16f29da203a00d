#pragma once
// A bare vCPU with memory, bus and time, for tests: no devices, no firmware. Counting clock, so
// runs repeat.

#include "core/bus.hpp"
#include "core/clock.hpp"
#include "core/event_queue.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "cpu/x86/state/features.hpp"
#include "cpu/x86/system/segment.hpp"
#include "cpu/x86/vcpu.hpp"

#include <initializer_list>
#include <memory>
#include <span>

namespace droste::test {

// Every feature the emulator has and the native vector unit can run.
CpuFeatures all_features();

class TestMachine {
  public:
    static constexpr u64 kRamBytes = 32U << 20;

    explicit TestMachine(const CpuFeatures& cpu_features = all_features());

    Vcpu& cpu() { return *cpu_; }
    GuestMemory& memory() { return *memory_; }
    Bus& bus() { return bus_; }
    Clock& clock() { return clock_; }
    EventQueue& events() { return events_; }
    Log& log() { return log_; }

    void poke(PhysAddr address, std::span<const u8> bytes);
    void poke(PhysAddr address, std::initializer_list<u8> bytes) {
        poke(address, {bytes.begin(), bytes.size()});
    }
    template <typename T>
    void poke_value(PhysAddr address, T value) {
        poke(address, {reinterpret_cast<const u8*>(&value), sizeof(T)});
    }
    template <typename T>
    T peek_value(PhysAddr address) {
        T value{};
        (void)memory().read(address, {reinterpret_cast<u8*>(&value), sizeof(T)});
        return value;
    }

    // 64-bit mode at `cpl` with paging on; tables at kTables: nothing mapped until map() is called.
    void enter_long_mode(unsigned cpl);
    // Maps the 4 KiB page at `linear` (below 512 GiB) to `physical`; user, and writable if asked.
    void map(u64 linear, u64 physical, bool writable = true);
    // The same with a whole page-table entry.
    void map_leaf(u64 linear, u64 entry);
    // Flat 32-bit protected mode, paging off, CPL 0.
    void enter_protected_mode();

    // Page tables are allocated upwards from here.
    static constexpr u64 kTables = 0x10'0000;

  private:
    u64 next_table_ = kTables;
    u64 table_entry(u64 table, unsigned index);

    Log log_;
    Clock clock_{Clock::Mode::Counting};
    EventQueue events_{clock_};
    Bus bus_{log_};
    std::unique_ptr<GuestMemory> memory_;
    CpuFeatures features_;
    std::unique_ptr<Vcpu> cpu_;
};

// A usable flat segment: `rights` in the VMX format.
Segment flat_segment(u16 selector, u32 rights);

}  // namespace droste::test

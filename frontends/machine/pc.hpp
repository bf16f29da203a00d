#pragma once
// The board: memory, bus, CPUs and what is loaded. The chips and the wires between them are in
// pc_chips.hpp; docs/howto/device.md adds one.

#include "core/bus.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/event_queue.hpp"
#include "core/guest_memory.hpp"
#include "core/log.hpp"
#include "core/machine_lock.hpp"
#include "cpu/vmx/vmx_state.hpp"
#include "cpu/x86/apic/apic_bus_x86.hpp"
#include "cpu/x86/seams/execution_engine.hpp"
#include "cpu/x86/vcpu.hpp"
#include "frontends/machine/acpi_tables.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/config.hpp"
#include "frontends/machine/run_control.hpp"

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace droste {

class BiosShadow;
class DeviceRegistry;
class PcChips;

class Pc {
  public:
    // Borrows `log`, `control` and the configuration's backends.
    static Expected<std::unique_ptr<Pc>>
    create(const MachineConfig& config, Log& log, RunControl& control);
    ~Pc();
    Pc(const Pc&) = delete;
    Pc& operator=(const Pc&) = delete;

    Log& log() { return log_; }
    Clock& clock() { return clock_; }
    EventQueue& events() { return events_; }
    GuestMemory& memory() { return *memory_; }
    Bus& bus() { return bus_; }
    LocalApicBus& apic_bus() { return apic_bus_; }
    // Null if all vCPUs run on one thread.
    MachineLock* lock() { return lock_.get(); }
    std::span<const std::unique_ptr<Vcpu>> vcpus() const { return vcpus_; }
    // One a vCPU; empty if the CPU model has no VMX.
    std::span<const std::unique_ptr<VmxState>> vmx() const { return vmx_; }
    DeviceRegistry& devices();
    // Null without a translator.
    const jit::CodeCache* translated_code() const { return translated_code_.get(); }
    ExecutionEngine& engine(const Vcpu& cpu) { return *engines_[cpu.index]; }
    // Gives the vCPU another engine; returns the one it had.
    std::unique_ptr<ExecutionEngine> exchange_engine(const Vcpu& cpu,
                                                     std::unique_ptr<ExecutionEngine> engine) {
        return std::exchange(engines_[cpu.index], std::move(engine));
    }
    // What was loaded, a line each.
    std::span<const std::string> boot_notes() const { return notes_; }

    // As the reset line: all chips and CPUs, then the boot plan or firmware again.
    void reset();

  private:
    Pc(const MachineConfig& config, Log& log, std::unique_ptr<GuestMemory> memory);
    Expected<void> make_vcpus();
    Expected<void> make_engines();
    Expected<void> load(RunControl& control);
    Expected<void> load_kernel(const AcpiTables& tables);
    Expected<void> load_firmware();
    void install_boot_plan();

    MachineConfig config_;
    Log& log_;
    std::unique_ptr<MachineLock> lock_;
    Clock clock_;
    EventQueue events_;
    std::unique_ptr<GuestMemory> memory_;
    Bus bus_;
    LocalApicBus apic_bus_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
    std::vector<std::unique_ptr<VmxState>> vmx_;  // one a vCPU when the model has VMX
    std::shared_ptr<jit::CodeCache> translated_code_;
    std::vector<std::unique_ptr<ExecutionEngine>> engines_;  // one a vCPU
    std::vector<u8> rom_;
    std::unique_ptr<BiosShadow> shadow_;
    std::unique_ptr<PcChips> chips_;
    BootPlan plan_;
    std::vector<std::string> notes_;
};

}  // namespace droste

#pragma once
// What a machine is made of: everything the user can choose about it.

#include "core/clock.hpp"
#include "core/types.hpp"
#include "cpu/vmx/capabilities.hpp"
#include "cpu/x86/interp/engine.hpp"
#include "cpu/x86/model/native_features.hpp"
#include "cpu/x86/state/features.hpp"
#include "frontends/machine/boot_plan.hpp"
#include "frontends/machine/device_site.hpp"
#include "jit/engine.hpp"

#include <array>
#include <string>
#include <vector>

namespace droste {

class CharBackend;

inline constexpr std::size_t kMaxSerialPorts = 4;
inline constexpr u32 kMaxVcpus = 255;

// Best: the translator, or the interpreter where the native machine grants no translated code.
enum class Accelerator : u8 { Best, Interpreter, Translator };

struct MachineConfig {
    u64 ram_bytes = u64{128} << 20;
    u32 vcpu_count = 1;
    CpuFeatures cpu;
    NativeFeatures native;                // what may be used to run it
    std::string cpu_model;                // as -cpu names it, for reports
    VmxConfig vmx = VmxConfig::nested();  // if the CPU has VMX
    Accelerator accelerator = Accelerator::Best;
    InterpreterOptions interpreter;
    jit::Options translator;
    bool threads = false;  // each vCPU has one; with Clock::Mode::Native
    Clock::Mode clock_mode = Clock::Mode::FreeRunning;
    u64 counting_ns = Clock::kCountingNsPerInsn;  // ns an instruction in Mode::Counting
    i64 rtc_start_seconds = 0;                    // the wall clock at power-on, seconds since 1970
    BootRequest boot;                             // with a kernel: it is started directly
    std::string bios;                             // otherwise: this firmware
    std::array<CharBackend*, kMaxSerialPorts> serial{};  // null: the port does not exist
    std::vector<DeviceRequest> devices;                  // what -device adds
};

}  // namespace droste

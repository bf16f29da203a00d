// Random VMCS contents, entered many times: never a crash, every failure explained, every success
// exits again.

#include "tests/unit/vmx/vmx_machine.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>

using namespace droste;
using namespace droste::test;

namespace {

class Random {
  public:
    explicit Random(u64 seed) : state_(seed * 0x9E37'79B9'7F4A'7C15 + 1) {}
    u64 next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    u64 below(u64 limit) { return next() % limit; }

  private:
    u64 state_;
};

// A field gets a flipped bit, a random value, a small one, or a control word with random legal
// bits.
u64 mutate(
    Random& random, const VmxCapabilities& caps, VmcsField field, u64 old, unsigned field_bits) {
    const auto legal = [&](const VmxCapabilities::Controls& c) {
        return (static_cast<u32>(random.next()) & c.may_be_1) | c.must_be_1;
    };
    if (random.below(4) != 0) {
        switch (field) {
        case VmcsField::pin_controls: return legal(caps.pin);
        case VmcsField::proc_controls: return legal(caps.proc);
        case VmcsField::proc2_controls: return legal(caps.proc2);
        case VmcsField::exit_controls:
            return legal(caps.exit) | vm_exit_control::kHostAddressSpaceSize;
        case VmcsField::entry_controls: return legal(caps.entry);
        default: break;
        }
    }
    switch (random.below(4)) {
    case 0: return random.next();
    case 1: return random.below(32);
    case 2: return random.below(0x200) << 12;
    default: return old ^ (u64{1} << random.below(field_bits));
    }
}

bool host_field(const VmcsFieldRow& row) {
    return row.group == VmcsGroup::Host;
}

}  // namespace

TEST_CASE("random VMCS contents are entered or explained", "[vmx][fuzz]") {
    const char* rounds_text = std::getenv("DROSTE_VMX_FUZZ_ROUNDS");
    const u64 rounds = rounds_text != nullptr ? std::strtoull(rounds_text, nullptr, 10) : 4000;
    u64 entered = 0, failed = 0;
    auto m = std::make_unique<VmxMachine>();
    m->prepare();
    m->make_guest_idt();
    const Vmcs good = m->vmcs();
    for (u64 round = 0; round < rounds; ++round) {
        CAPTURE(round);
        Random random(round + 1);
        m->vmcs() = good;
        m->vmcs().ept_pointer = m->make_identity_ept(7);
        m->vmcs().vpid = 3;
        m->vmx().current->stale_checks = ~0U;
        m->vmx().current->launch_state = LaunchState::Clear;
        m->guest_code({0x0F, 0xA2, 0xF4});
        for (u64 changes = 1 + random.below(6); changes != 0; --changes) {
            const auto field = static_cast<VmcsField>(random.below(kVmcsFieldCount));
            const VmcsFieldRow& row = row_of(field);
            if (m->vmx().caps.supports(row) && !host_field(row)) {
                write_field(m->vmcs(), row,
                            mutate(random, m->vmx().caps, field, read_field(m->vmcs(), row),
                                   row.bytes * 8U));
            }
        }
        m->state().activity = Activity::Active;
        m->state().interruptibility = 0;
        const Status status = m->vmlaunch();
        if (!m->vmx().non_root) {
            const bool explained = status == Status::Next ? m->failed_valid() : true;
            CHECK(explained);
            ++failed;
        } else {
            ++entered;
            if (!m->continue_guest(200)) {
                // A guest that sleeps or loops: an INIT always gets it out, a SIPI from
                // wait-for-SIPI.
                m->cpu().request(attention::kInit | attention::kSipi);
                CHECK(m->continue_guest(200));
            }
        }
        m->cpu().withdraw(~attention::kStep);
        if (m->vmx().non_root || m->state().activity == Activity::Shutdown ||
            m->state().rip() < VmxMachine::kHostCode ||
            m->state().rip() > VmxMachine::kHostCode + 3) {
            m = std::make_unique<VmxMachine>();
            m->prepare();
            m->make_guest_idt();
        }
    }
    CHECK(entered > rounds / 50);
    CHECK(failed > rounds / 50);
}

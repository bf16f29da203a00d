#pragma once
// Which wire goes where: the sixteen ISA interrupt requests reach both the 8259 pair and the I/O
// APIC; the operating system masks one of the two. IRQ 0 is pin 2 of the I/O APIC, as the MADT's
// override says; IRQ 2 is the cascade of the 8259s and reaches no pin.

#include "core/irq_line.hpp"
#include "cpu/x86/apic/local_apic.hpp"
#include "cpu/x86/vcpu.hpp"
#include "devices/irq/ioapic.hpp"
#include "devices/irq/pic8259.hpp"

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <utility>

namespace droste {

// The 8259 pair's INTR output: LINT0 of the bootstrap processor.
class Lint0Line final : public IrqLine {
  public:
    explicit Lint0Line(LocalApic& apic) : apic_(apic) {}
    void set_level(bool asserted) override { apic_.set_lint(0, asserted); }

  private:
    LocalApic& apic_;
};

class IsaInterrupts {
  public:
    static constexpr unsigned kCount = 16;

    IsaInterrupts(Pic8259Pair& pic, IoApic& ioapic) {
        for (unsigned irq = 0; irq < kCount; ++irq) {
            constexpr unsigned kCascade = 2;
            IrqLine* pin = irq == kCascade ? nullptr : &ioapic.input(irq == 0 ? 2 : irq);
            lines_[irq].connect(pic.input(irq), pin);
        }
    }
    IrqLine& operator[](unsigned irq) { return lines_[irq]; }

  private:
    class Line final : public IrqLine {
      public:
        void connect(IrqLine& pic, IrqLine* ioapic) {
            pic_ = &pic;
            ioapic_ = ioapic;
        }
        void set_level(bool asserted) override {
            pic_->set_level(asserted);
            if (ioapic_ != nullptr) {
                ioapic_->set_level(asserted);
            }
        }

      private:
        IrqLine* pic_ = nullptr;
        IrqLine* ioapic_ = nullptr;
    };

    std::array<Line, kCount> lines_;
};

// The A20 gate masks address bit 20 of every CPU.
class A20Line final : public IrqLine {
  public:
    explicit A20Line(std::span<const std::unique_ptr<Vcpu>> cpus) : cpus_(cpus) {}
    void set_level(bool asserted) override {
        for (const auto& cpu : cpus_) {
            set_a20(*cpu, asserted);
        }
    }

  private:
    std::span<const std::unique_ptr<Vcpu>> cpus_;
};

// A wire whose rising edge asks for something (reset, power-off).
class RequestLine final : public IrqLine {
  public:
    explicit RequestLine(std::function<void()> request) : request_(std::move(request)) {}
    void set_level(bool asserted) override {
        if (asserted && !level_) {
            request_();
        }
        level_ = asserted;
    }

  private:
    std::function<void()> request_;
    bool level_ = false;
};

}  // namespace droste

#pragma once
// PC16550D universal asynchronous receiver/transmitter with FIFOs.
// National Semiconductor, "PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs".
//
// Transmission is instant: a byte written to THR is in the backend before the write returns, so
// THRE and TEMT always read 1 and the THRE interrupt follows the write at once. Reception is
// flow-controlled towards the backend (receive_room), so no typed or piped byte is ever lost; only
// the character timeout needs virtual time. See docs/devices/uart16550.md.

#include "core/bus.hpp"
#include "core/char_backend.hpp"
#include "core/event_queue.hpp"
#include "core/irq_line.hpp"
#include "devices/device.hpp"

#include <array>

namespace droste {

class Uart16550 final : public PioDevice, public CharReceiver, public Device {
  public:
    static constexpr std::size_t kFifoBytes = 16;

    // Registers itself as the backend's receiver.
    Uart16550(EventQueue& events, IrqLine& irq, CharBackend& backend, u16 base, Log& log);
    ~Uart16550() override;

    std::string_view name() const override { return "16550A"; }
    std::span<const PortRange> pio_ranges() const override { return ranges_; }
    IoStatus pio_read(u16 port, std::span<u8> data) override;
    IoStatus pio_write(u16 port, std::span<const u8> data) override;

    std::size_t receive_room() const override;
    void receive(std::span<const u8> bytes) override;

    void reset() override;
    void state(StateArchive& archive) override;

  private:
    u8 read_register(unsigned offset);
    void write_register(unsigned offset, u8 value);
    u8 read_rbr();
    u8 read_iir();
    void write_thr(u8 value);
    void write_ier(u8 value);
    void write_fcr(u8 value);
    void write_mcr(u8 value);

    bool fifo_enabled() const;
    bool loopback() const;
    std::size_t capacity() const { return fifo_enabled() ? kFifoBytes : 1; }
    void push(u8 byte);
    void clear_receiver();
    // The four modem inputs as MSR bits 7:4, from the cable or, in loopback, from MCR.
    u8 modem_inputs() const;
    void update_modem_status();
    // IIR bits 3:0: the highest-priority pending interrupt, or kNoInterrupt.
    u8 interrupt_id() const;
    void update_irq();
    void restart_timeout();
    u64 character_ns() const;

    std::array<PortRange, 1> ranges_;
    IrqLine& irq_;
    CharBackend& backend_;
    Log& log_;
    EventQueue& events_;
    Timer timeout_;

    std::array<u8, kFifoBytes> fifo_{};
    std::size_t fifo_head_ = 0;
    std::size_t fifo_count_ = 0;
    u16 divisor_ = 0;
    u8 ier_ = 0;
    u8 fcr_ = 0;
    u8 lcr_ = 0;
    u8 mcr_ = 0;
    u8 msr_ = 0;
    u8 scr_ = 0;
    bool overrun_ = false;
    bool thre_pending_ = false;
    bool timed_out_ = false;
    bool gate_reported_ = false;  // once a reset
};

}  // namespace droste

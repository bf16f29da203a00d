#include "devices/char/uart16550.hpp"

#include "devices/state_archive.hpp"

#include <algorithm>

namespace droste {

namespace {

// Register offsets; 0 and 1 are the divisor latch while LCR.DLAB is set.
enum Register : unsigned { kRbrThr, kIer, kIirFcr, kLcr, kMcr, kLsr, kMsr, kScr };

constexpr u8 kIerData = 1U << 0;
constexpr u8 kIerThre = 1U << 1;
constexpr u8 kIerLineStatus = 1U << 2;
constexpr u8 kIerModem = 1U << 3;

// IIR bits 3:0, highest priority first. Table "Interrupt Control Functions".
constexpr u8 kNoInterrupt = 0x1;
constexpr u8 kLineStatus = 0x6;
constexpr u8 kDataAvailable = 0x4;
constexpr u8 kCharacterTimeout = 0xC;
constexpr u8 kTransmitterEmpty = 0x2;
constexpr u8 kModemStatus = 0x0;
constexpr u8 kIirFifosEnabled = 0xC0;

constexpr u8 kFcrEnable = 1U << 0;
constexpr u8 kFcrClearReceiver = 1U << 1;
constexpr u8 kFcrStored = 0xC9;  // enable, DMA mode, trigger level; the clear bits are momentary
constexpr std::array<u8, 4> kTriggerLevels = {1, 4, 8, 14};

constexpr u8 kLcrDlab = 1U << 7;

constexpr u8 kMcrOut2 = 1U << 3;
constexpr u8 kMcrLoop = 1U << 4;
constexpr u8 kMcrWritable = 0x1F;

constexpr u8 kLsrDataReady = 1U << 0;
constexpr u8 kLsrOverrun = 1U << 1;
constexpr u8 kLsrThre = 1U << 5;
constexpr u8 kLsrTemt = 1U << 6;

constexpr u8 kMsrTeri = 1U << 2;  // trailing edge of RI
constexpr u8 kMsrDeltas = 0x0F;
constexpr u8 kMsrCts = 1U << 4;
constexpr u8 kMsrDsr = 1U << 5;
constexpr u8 kMsrRi = 1U << 6;
constexpr u8 kMsrDcd = 1U << 7;

constexpr u64 kBaudBase = 115'200;  // 1.8432 MHz / 16

}  // namespace

Uart16550::Uart16550(EventQueue& events, IrqLine& irq, CharBackend& backend, u16 base, Log& log)
    : ranges_{PortRange{.first = base, .count = 8}}
    , irq_(irq)
    , backend_(backend)
    , log_(log)
    , events_(events)
    , timeout_(events, [this](u64 /*deadline_ns*/) {
        timed_out_ = true;
        update_irq();
    }) {
    reset();
    backend_.set_receiver(this);
}

Uart16550::~Uart16550() {
    backend_.set_receiver(nullptr);
}

void Uart16550::reset() {
    divisor_ = 12;  // 9600 baud; undefined after reset, but a character needs some length
    ier_ = 0;
    fcr_ = 0;
    lcr_ = 0;
    mcr_ = 0;
    scr_ = 0;
    thre_pending_ = false;
    gate_reported_ = false;
    msr_ = modem_inputs();
    clear_receiver();
    update_irq();
}

IoStatus Uart16550::pio_read(u16 port, std::span<u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    data[0] = read_register((port - ranges_[0].first) & 7U);
    return IoStatus::Done;
}

IoStatus Uart16550::pio_write(u16 port, std::span<const u8> data) {
    if (data.size() != 1) {
        return IoStatus::BadSize;
    }
    write_register((port - ranges_[0].first) & 7U, data[0]);
    return IoStatus::Done;
}

u8 Uart16550::read_register(unsigned offset) {
    const bool dlab = (lcr_ & kLcrDlab) != 0;
    switch (offset) {
    case kRbrThr: return dlab ? static_cast<u8>(divisor_) : read_rbr();
    case kIer: return dlab ? static_cast<u8>(divisor_ >> 8) : ier_;
    case kIirFcr: return read_iir();
    case kLcr: return lcr_;
    case kMcr: return mcr_;
    case kLsr: {
        const u8 lsr =
            static_cast<u8>(kLsrThre | kLsrTemt | (fifo_count_ != 0 ? kLsrDataReady : 0) |
                            (overrun_ ? kLsrOverrun : 0));
        overrun_ = false;
        update_irq();
        return lsr;
    }
    case kMsr: {
        const u8 msr = msr_;
        msr_ = static_cast<u8>(msr_ & ~kMsrDeltas);
        update_irq();
        return msr;
    }
    default: return scr_;
    }
}

void Uart16550::write_register(unsigned offset, u8 value) {
    const bool dlab = (lcr_ & kLcrDlab) != 0;
    switch (offset) {
    case kRbrThr:
        if (dlab) {
            divisor_ = static_cast<u16>((divisor_ & 0xFF00) | value);
        } else {
            write_thr(value);
        }
        break;
    case kIer:
        if (dlab) {
            divisor_ = static_cast<u16>((divisor_ & 0x00FF) | (value << 8));
        } else {
            write_ier(value);
        }
        break;
    case kIirFcr: write_fcr(value); break;
    case kLcr: lcr_ = value; break;
    case kMcr: write_mcr(value); break;
    case kScr: scr_ = value; break;
    default: break;  // LSR and MSR are read-only here (their writes are for factory tests)
    }
}

u8 Uart16550::read_rbr() {
    if (fifo_count_ == 0) {
        return 0;
    }
    const u8 byte = fifo_[fifo_head_];
    fifo_head_ = (fifo_head_ + 1) % kFifoBytes;
    --fifo_count_;
    restart_timeout();
    update_irq();
    if (!loopback()) {
        backend_.receiver_ready();
    }
    return byte;
}

u8 Uart16550::read_iir() {
    const u8 id = interrupt_id();
    if (id == kTransmitterEmpty) {
        thre_pending_ = false;
        update_irq();
    }
    return static_cast<u8>(id | (fifo_enabled() ? kIirFifosEnabled : 0));
}

void Uart16550::write_thr(u8 value) {
    // The write clears the THRE interrupt and the emptied register raises it again: the line falls
    // between the two, which an edge-triggered 8259 needs to see.
    thre_pending_ = false;
    update_irq();
    if (loopback()) {
        push(value);
    } else {
        backend_.write({&value, 1});
    }
    thre_pending_ = true;
    update_irq();
}

void Uart16550::write_ier(u8 value) {
    // Enabling the THRE interrupt while THR is empty raises it.
    if ((value & kIerThre) != 0 && (ier_ & kIerThre) == 0) {
        thre_pending_ = true;
    }
    ier_ = value & 0x0F;
    update_irq();
}

void Uart16550::write_fcr(u8 value) {
    // "FCR0 ... changing from FIFO mode to 16450 mode and vice versa clears data from the FIFOs."
    const bool mode_changed = ((fcr_ ^ value) & kFcrEnable) != 0;
    // The other bits take effect only while FCR0 is written as 1.
    fcr_ = (value & kFcrEnable) != 0 ? value & kFcrStored : 0;
    if (mode_changed || (value & kFcrClearReceiver) != 0) {
        clear_receiver();
        if (!loopback()) {
            backend_.receiver_ready();
        }
    }
    update_irq();
}

void Uart16550::write_mcr(u8 value) {
    const bool was_loopback = loopback();
    mcr_ = value & kMcrWritable;
    update_modem_status();
    update_irq();
    if (was_loopback && !loopback()) {
        backend_.receiver_ready();
    }
}

bool Uart16550::fifo_enabled() const {
    return (fcr_ & kFcrEnable) != 0;
}

bool Uart16550::loopback() const {
    return (mcr_ & kMcrLoop) != 0;
}

std::size_t Uart16550::receive_room() const {
    return loopback() ? 0 : capacity() - std::min(capacity(), fifo_count_);
}

void Uart16550::receive(std::span<const u8> bytes) {
    for (const u8 byte : bytes) {
        push(byte);
    }
}

void Uart16550::push(u8 byte) {
    if (fifo_count_ >= capacity()) {
        overrun_ = true;  // in FIFO mode the new character is lost; in 16450 mode it overwrites
        if (!fifo_enabled()) {
            fifo_[fifo_head_] = byte;
        }
    } else {
        fifo_[(fifo_head_ + fifo_count_) % kFifoBytes] = byte;
        ++fifo_count_;
    }
    restart_timeout();
    update_irq();
}

void Uart16550::clear_receiver() {
    fifo_ = {};
    fifo_head_ = 0;
    fifo_count_ = 0;
    overrun_ = false;
    restart_timeout();
}

u8 Uart16550::modem_inputs() const {
    if (!loopback()) {
        return kMsrCts | kMsrDsr | kMsrDcd;  // a peer that is always ready
    }
    // Loopback: DTR -> DSR, RTS -> CTS, OUT1 -> RI, OUT2 -> DCD.
    const auto wire = [this](unsigned mcr_bit, u8 msr_bit) {
        return ((mcr_ >> mcr_bit) & 1U) != 0 ? msr_bit : u8{0};
    };
    return static_cast<u8>(wire(0, kMsrDsr) | wire(1, kMsrCts) | wire(2, kMsrRi) |
                           wire(3, kMsrDcd));
}

void Uart16550::update_modem_status() {
    const u8 inputs = modem_inputs();
    const u8 changed = (inputs ^ msr_) & 0xF0;
    u8 deltas = static_cast<u8>(changed >> 4);
    if ((inputs & kMsrRi) != 0) {
        deltas = static_cast<u8>(deltas & ~kMsrTeri);
    }
    msr_ = static_cast<u8>(inputs | (msr_ & kMsrDeltas) | deltas);
}

u8 Uart16550::interrupt_id() const {
    if ((ier_ & kIerLineStatus) != 0 && overrun_) {
        return kLineStatus;
    }
    if ((ier_ & kIerData) != 0) {
        const std::size_t trigger = fifo_enabled() ? kTriggerLevels[fcr_ >> 6] : 1;
        if (fifo_count_ >= trigger) {
            return kDataAvailable;
        }
        if (timed_out_) {
            return kCharacterTimeout;
        }
    }
    if ((ier_ & kIerThre) != 0 && thre_pending_) {
        return kTransmitterEmpty;
    }
    if ((ier_ & kIerModem) != 0 && (msr_ & kMsrDeltas) != 0) {
        return kModemStatus;
    }
    return kNoInterrupt;
}

void Uart16550::update_irq() {
    // The PC routes the interrupt through a buffer that the OUT2 pin enables; loopback forces that
    // pin inactive.
    const bool gated_on = (mcr_ & (kMcrOut2 | kMcrLoop)) == kMcrOut2;
    const bool requests = interrupt_id() != kNoInterrupt;
    if (requests && !gated_on && !loopback() && !gate_reported_) {
        gate_reported_ = true;
        log_.write(LogCategory::GuestErrors,
                   "16550A at {:#05x}: an interrupt is enabled and pending, but MCR.OUT2 = 0 keeps "
                   "it from the machine",
                   ranges_[0].first);
    }
    irq_.set_level(gated_on && requests);
}

// The character timeout: FIFO not empty, and four character times without a character in or out.
void Uart16550::restart_timeout() {
    timed_out_ = false;
    if (fifo_enabled() && fifo_count_ != 0) {
        timeout_.arm(events_.now_ns() + 4 * character_ns());
    } else {
        timeout_.disarm();
    }
}

u64 Uart16550::character_ns() const {
    const unsigned data_bits = 5 + (lcr_ & 3U);
    const unsigned stop_bits = (lcr_ & 4U) != 0 ? 2 : 1;
    const unsigned parity_bits = (lcr_ & 8U) != 0 ? 1 : 0;
    const u64 divisor = divisor_ == 0 ? 1 : divisor_;
    return (1 + data_bits + parity_bits + stop_bits) * divisor * 1'000'000'000 / kBaudBase;
}

void Uart16550::state(StateArchive& archive) {
    archive("fifo", fifo_);
    archive("fifo_head", fifo_head_);
    archive("fifo_count", fifo_count_);
    archive("divisor", divisor_);
    archive("ier", ier_);
    archive("fcr", fcr_);
    archive("lcr", lcr_);
    archive("mcr", mcr_);
    archive("msr", msr_);
    archive("scr", scr_);
    archive("overrun", overrun_);
    archive("thre_pending", thre_pending_);
    archive("timed_out", timed_out_);
    archive("gate_reported", gate_reported_);
    archive("timeout", timeout_);
}

}  // namespace droste

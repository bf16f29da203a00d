#include "devices/input/ps2_mouse.hpp"

#include "devices/state_archive.hpp"

#include <algorithm>

namespace droste {

namespace {

constexpr u8 kScaling1 = 0xE6;
constexpr u8 kScaling2 = 0xE7;
constexpr u8 kSetResolution = 0xE8;
constexpr u8 kStatusRequest = 0xE9;
constexpr u8 kStreamMode = 0xEA;
constexpr u8 kReadData = 0xEB;
constexpr u8 kResetWrap = 0xEC;
constexpr u8 kWrapMode = 0xEE;
constexpr u8 kRemoteMode = 0xF0;
constexpr u8 kReadId = 0xF2;
constexpr u8 kSetSampleRate = 0xF3;
constexpr u8 kEnable = 0xF4;
constexpr u8 kDisable = 0xF5;
constexpr u8 kSetDefault = 0xF6;
constexpr u8 kResendLast = 0xFE;
constexpr u8 kReset = 0xFF;

constexpr u8 kPlainId = 0x00;
constexpr u8 kWheelId = 0x03;
constexpr int kMaxDelta = 255;

}  // namespace

void Ps2Mouse::set_defaults() {
    pending_command_ = 0;
    sample_rate_ = 100;
    resolution_ = 2;
    scaling_ = false;
    stream_ = true;
    wrap_ = false;
    reporting_ = false;
    dx_ = dy_ = dz_ = 0;
}

void Ps2Mouse::reset() {
    clear_queue();
    set_defaults();
    wheel_mode_ = false;
    earlier_rates_ = {};
}

void Ps2Mouse::move(int dx, int dy, int wheel, u8 buttons) {
    dx_ = std::clamp(dx_ + std::clamp(dx, -kMaxDelta, kMaxDelta), -kMaxDelta, kMaxDelta);
    dy_ = std::clamp(dy_ + std::clamp(dy, -kMaxDelta, kMaxDelta), -kMaxDelta, kMaxDelta);
    dz_ = std::clamp(dz_ + std::clamp(wheel, -7, 7), -7, 7);
    buttons_ = buttons & (kLeft | kRight | kMiddle);
    if (reporting_ && stream_) {
        send_packet();
    }
}

void Ps2Mouse::send_packet() {
    const u8 first = static_cast<u8>(buttons_ | 0x08 | (dx_ < 0 ? 0x10 : 0) | (dy_ < 0 ? 0x20 : 0));
    const std::array<u8, 4> packet = {first, static_cast<u8>(dx_), static_cast<u8>(dy_),
                                      static_cast<u8>(-dz_)};
    send(std::span(packet).first(wheel_mode_ ? 4 : 3));
    dx_ = dy_ = dz_ = 0;
}

void Ps2Mouse::send_status() {
    const u8 buttons = static_cast<u8>((buttons_ & kLeft) << 2 | (buttons_ & kMiddle) >> 1 |
                                       (buttons_ & kRight) >> 1);
    const u8 status = static_cast<u8>((stream_ ? 0 : 0x40) | (reporting_ ? 0x20 : 0) |
                                      (scaling_ ? 0x10 : 0) | buttons);
    send({kAcknowledge, status, resolution_, sample_rate_});
}

void Ps2Mouse::write(u8 value) {
    if (wrap_ && value != kReset && value != kResetWrap) {
        send({value});
        return;
    }
    if (pending_command_ != 0) {
        write_argument(value);
        return;
    }
    switch (value) {
    case kScaling1:
    case kScaling2: scaling_ = value == kScaling2; break;
    case kSetResolution:
    case kSetSampleRate: pending_command_ = value; break;
    case kStatusRequest: send_status(); return;
    case kStreamMode:
    case kRemoteMode: stream_ = value == kStreamMode; break;
    case kReadData:
        send({kAcknowledge});
        send_packet();
        return;
    case kWrapMode:
    case kResetWrap: wrap_ = value == kWrapMode; break;
    case kReadId: send({kAcknowledge, wheel_mode_ ? kWheelId : kPlainId}); return;
    case kEnable:
    case kDisable: reporting_ = value == kEnable; break;
    case kSetDefault: set_defaults(); break;
    case kResendLast: send({last_sent()}); return;
    case kReset:
        reset();
        send({kAcknowledge, kSelfTestPassed, kPlainId});
        return;
    default: send({kResend}); return;
    }
    send({kAcknowledge});
}

void Ps2Mouse::write_argument(u8 value) {
    if (pending_command_ == kSetResolution) {
        resolution_ = value & 3;
    } else {
        if (earlier_rates_[0] == 200 && earlier_rates_[1] == 100 && value == 80) {
            wheel_mode_ = true;
        }
        earlier_rates_ = {earlier_rates_[1], value};
        sample_rate_ = value;
    }
    pending_command_ = 0;
    send({kAcknowledge});
}

void Ps2Mouse::state(StateArchive& archive) {
    Ps2Device::state(archive);
    archive("pending_command", pending_command_);
    archive("sample_rate", sample_rate_);
    archive("resolution", resolution_);
    archive("scaling", scaling_);
    archive("stream", stream_);
    archive("wrap", wrap_);
    archive("reporting", reporting_);
    archive("wheel_mode", wheel_mode_);
    archive("earlier_rates", earlier_rates_);
    archive("dx", dx_);
    archive("dy", dy_);
    archive("dz", dz_);
    archive.over_reset([&] { archive("buttons", buttons_); });
}

}  // namespace droste

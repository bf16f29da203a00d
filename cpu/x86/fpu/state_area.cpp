// See state_area.hpp.

#include "cpu/x86/fpu/state_area.hpp"

#include <algorithm>
#include <array>

namespace droste {
namespace {

using Piece = std::array<u8, 64>;

LinearAddr at(const Vcpu& cpu, LinearAddr linear, std::size_t offset) {
    const LinearAddr sum = linear + offset;
    return cpu.mode.long_mode64 ? sum : static_cast<u32>(sum);
}

// A native pointer to the range if all of it lies in one page of plain memory the TLB knows.
u8* plain_range(Vcpu& cpu, LinearAddr linear, std::size_t bytes, bool write) {
    return linear % kPageBytes + bytes <= kPageBytes ? native_pointer_if_plain(cpu, linear, write)
                                                     : nullptr;
}

}  // namespace

Status load_area(Vcpu& cpu, LinearAddr linear, std::span<u8> out, SegReg seg, unsigned piece) {
    if (const u8* plain = plain_range(cpu, linear, out.size(), false); plain != nullptr)
        [[likely]] {
        std::memcpy(out.data(), plain, out.size());
        return Status::Next;
    }
    std::size_t done = 0;
    for (; piece == 64 && done + 64 <= out.size(); done += 64) {
        Piece bytes;
        if (const Status status = load_linear(cpu, at(cpu, linear, done), bytes, seg);
            status != Status::Next) {
            return status;
        }
        std::memcpy(out.data() + done, bytes.data(), 64);
    }
    while (done < out.size()) {
        const auto step =
            static_cast<unsigned>(std::min<std::size_t>(std::min(piece, 8U), out.size() - done));
        if (const Status status =
                load_slow(cpu, at(cpu, linear, done), out.data() + done, step, seg);
            status != Status::Next) {
            return status;
        }
        done += step;
    }
    return Status::Next;
}

Status probe_area(Vcpu& cpu, LinearAddr linear, std::size_t bytes, SegReg seg) {
    if (plain_range(cpu, linear, bytes, true) != nullptr) [[likely]] {
        return Status::Next;
    }
    std::size_t done = 0;
    while (done < bytes) {
        const LinearAddr first = at(cpu, linear, done);
        if (const Status status = probe_store(cpu, first, 1, seg); status != Status::Next) {
            return status;
        }
        done += kPageBytes - first % kPageBytes;
    }
    return probe_store(cpu, at(cpu, linear, bytes - 1), 1, seg);
}

Status
store_area(Vcpu& cpu, LinearAddr linear, std::span<const u8> data, SegReg seg, unsigned piece) {
    if (u8* plain = plain_range(cpu, linear, data.size(), true); plain != nullptr) [[likely]] {
        std::memcpy(plain, data.data(), data.size());
        return Status::Next;
    }
    std::size_t done = 0;
    for (; piece == 64 && done + 64 <= data.size(); done += 64) {
        Piece bytes;
        std::memcpy(bytes.data(), data.data() + done, 64);
        if (const Status status = store_linear(cpu, at(cpu, linear, done), bytes, seg);
            status != Status::Next) {
            return status;
        }
    }
    while (done < data.size()) {
        const auto step =
            static_cast<unsigned>(std::min<std::size_t>(std::min(piece, 8U), data.size() - done));
        if (const Status status =
                store_slow(cpu, at(cpu, linear, done), data.data() + done, step, seg);
            status != Status::Next) {
            return status;
        }
        done += step;
    }
    return Status::Next;
}

}  // namespace droste

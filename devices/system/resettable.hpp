#pragma once
// What the board resets: a chip returns to its power-on state, its outputs included. Contents that
// a battery or the outside world holds (CMOS RAM, the bytes a backend has waiting) stay.

namespace droste {

class Resettable {
  public:
    Resettable() = default;
    Resettable(const Resettable&) = delete;
    Resettable& operator=(const Resettable&) = delete;
    virtual ~Resettable() = default;

    virtual void reset() = 0;
};

}  // namespace droste

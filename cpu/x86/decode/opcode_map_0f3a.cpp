// Three-byte opcode map, first two bytes 0F 3A. SDM Vol. 2D, A.3 "One, Two, and Three-Byte Opcode
// Maps", Table A-5. The rows that need VEX are in opcode_map_vex_0f3a.cpp.

#include "cpu/x86/decode/map_table.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

namespace droste::opcode_map {

namespace {

using enum Operand;

constexpr Feature kSsse3 = Feature::SSSE3;
constexpr Feature kSse41 = Feature::SSE4_1;
constexpr Feature kSse42 = Feature::SSE4_2;
constexpr Feature kGfni = Feature::GFNI;

// clang-format off
constexpr auto kThreeByteMap3A = std::to_array<Row>({
    //opcode entry  operands  attributes  feature
    {0x08, Op::ROUNDPS,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x09, Op::ROUNDPD,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x0A, Op::ROUNDSS,          {Vss, Wss, Ib},  k66 | kNative, kSse41},
    {0x0B, Op::ROUNDSD,          {Vsd, Wsd, Ib},  k66 | kNative, kSse41},
    {0x0C, Op::BLENDPS,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x0D, Op::BLENDPD,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x0E, Op::PBLENDW,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x0F, Op::PALIGNR,          {Pq, Qq, Ib},    kNP | kNative, kSsse3},
    {0x0F, Op::PALIGNR,          {Vx, Wx, Ib},    k66 | kSse, kSsse3},
    {0x14, Op::PEXTRB,           {RdMb, Vdq, Ib}, k66 | kNative, kSse41},
    {0x15, Op::PEXTRW,           {RdMw, Vdq, Ib}, k66 | kNative, kSse41},
    {0x16, Op::PEXTRQ,           {Ey, Vdq, Ib},   k66 | kW1 | kNative, kSse41},
    {0x16, Op::PEXTRD,           {Ey, Vdq, Ib},   k66 | kNative, kSse41},
    {0x17, Op::EXTRACTPS,        {Ed, Vdq, Ib},   k66 | kNative, kSse41},
    {0x20, Op::PINSRB,           {Vdq, RdMb, Ib}, k66 | kNative, kSse41},
    {0x21, Op::INSERTPS,         {Vdq, Wd, Ib},   k66 | kNative, kSse41},
    {0x22, Op::PINSRQ,           {Vdq, Ey, Ib},   k66 | kW1 | kNative, kSse41},
    {0x22, Op::PINSRD,           {Vdq, Ey, Ib},   k66 | kNative, kSse41},
    {0x40, Op::DPPS,             {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x41, Op::DPPD,             {Vdq, Wdq, Ib},  k66 | kSse, kSse41},
    {0x42, Op::MPSADBW,          {Vx, Wx, Ib},    k66 | kSse, kSse41},
    {0x44, Op::PCLMULQDQ,        {Vdq, Wdq, Ib},  k66 | kSse, Feature::PCLMULQDQ},
    // SSE4.2 string comparison: a memory operand needs no alignment.
    {0x60, Op::PCMPESTRM,        {Vdq, Wdq, Ib},  k66 | kNative, kSse42},
    {0x61, Op::PCMPESTRI,        {Vdq, Wdq, Ib},  k66 | kNative, kSse42},
    {0x62, Op::PCMPISTRM,        {Vdq, Wdq, Ib},  k66 | kNative, kSse42},
    {0x63, Op::PCMPISTRI,        {Vdq, Wdq, Ib},  k66 | kNative, kSse42},
    {0xCC, Op::SHA1RNDS4,        {Vdq, Wdq, Ib},  kNP | kSse, Feature::SHA},
    {0xCE, Op::GF2P8AFFINEQB,    {Vx, Wx, Ib},    k66 | kSse, kGfni},
    {0xCF, Op::GF2P8AFFINEINVQB, {Vx, Wx, Ib},    k66 | kSse, kGfni},
    {0xDF, Op::AESKEYGENASSIST,  {Vdq, Wdq, Ib},  k66 | kSse, Feature::AES},
});
// clang-format on
static_assert(sorted_by_opcode(kThreeByteMap3A), "keep the table in opcode order");

constexpr auto kRows = expand_rows<expanded_count(kThreeByteMap3A)>(kThreeByteMap3A);
constexpr auto kTable = build_map<kSplitCells<kRows>>(kRows, {OpcodeMap::Map0F3A, false});

}  // namespace

constinit const MapView kMap0F3A = view_of(kTable, kRows);

}  // namespace droste::opcode_map

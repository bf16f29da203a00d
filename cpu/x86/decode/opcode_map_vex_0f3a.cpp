// VEX map 3 (VEX.mmmmm = 00011b): the VEX-encoded rows of the 0F 3A map.
// SDM Vol. 2D, A.3 "One, Two, and Three-Byte Opcode Maps", Table A-5, and the instruction pages for
// W and L.

#include "cpu/x86/decode/map_table.hpp"
#include "cpu/x86/decode/opcode_maps.hpp"

namespace droste::opcode_map {

namespace {

using enum Operand;

constexpr Feature kAvx = Feature::AVX;
constexpr Feature kAvx2 = Feature::AVX2;

// clang-format off
constexpr auto kVexMap0F3A = std::to_array<Row>({
    //opcode entry  operands  attributes  feature
    {0x00, Op::VPERMQ,            {Vqq, Wqq, Ib},       k66 | kW1 | kL1 | kNative, kAvx2},
    {0x01, Op::VPERMPD,           {Vqq, Wqq, Ib},       k66 | kW1 | kL1 | kNative, kAvx2},
    {0x02, Op::VPBLENDD,          {Vx, Hx, Wx, Ib},     k66 | kW0 | kNative, kAvx2},
    {0x04, Op::VPERMILPS,         {Vx, Wx, Ib},         k66 | kW0 | kNative, kAvx},
    {0x05, Op::VPERMILPD,         {Vx, Wx, Ib},         k66 | kW0 | kNative, kAvx},
    {0x06, Op::VPERM2F128,        {Vqq, Hqq, Wqq, Ib},  k66 | kW0 | kL1 | kNative, kAvx},
    {0x08, Op::VROUNDPS,          {Vx, Wx, Ib},         k66 | kNative, kAvx},
    {0x09, Op::VROUNDPD,          {Vx, Wx, Ib},         k66 | kNative, kAvx},
    {0x0A, Op::VROUNDSS,          {Vss, Hss, Wss, Ib},  k66 | kNative, kAvx},
    {0x0B, Op::VROUNDSD,          {Vsd, Hsd, Wsd, Ib},  k66 | kNative, kAvx},
    {0x0C, Op::VBLENDPS,          {Vx, Hx, Wx, Ib},     k66 | kNative, kAvx},
    {0x0D, Op::VBLENDPD,          {Vx, Hx, Wx, Ib},     k66 | kNative, kAvx},
    {0x0E, Op::VPBLENDW,          {Vx, Hx, Wx, Ib},     k66 | kNative | kYmmAvx2, kAvx},
    {0x0F, Op::VPALIGNR,          {Vx, Hx, Wx, Ib},     k66 | kNative | kYmmAvx2, kAvx},
    {0x14, Op::VPEXTRB,           {RdMb, Vdq, Ib},      k66 | kL0 | kNative, kAvx},
    {0x15, Op::VPEXTRW,           {RdMw, Vdq, Ib},      k66 | kL0 | kNative, kAvx},
    {0x16, Op::VPEXTRQ,           {Ey, Vdq, Ib},        k66 | kL0 | kW1 | kOnly64 | kNative, kAvx},
    {0x16, Op::VPEXTRD,           {Ey, Vdq, Ib},        k66 | kL0 | kNative, kAvx},
    {0x17, Op::VEXTRACTPS,        {Ed, Vdq, Ib},        k66 | kL0 | kNative, kAvx},
    {0x18, Op::VINSERTF128,       {Vqq, Hqq, Wdq, Ib},  k66 | kW0 | kL1 | kNative, kAvx},
    {0x19, Op::VEXTRACTF128,      {Wdq, Vqq, Ib},       k66 | kW0 | kL1 | kNative, kAvx},
    {0x1D, Op::VCVTPS2PH,         {Wx2, Vx, Ib},        k66 | kW0 | kNative, Feature::F16C},
    {0x20, Op::VPINSRB,           {Vdq, Hdq, RdMb, Ib}, k66 | kL0 | kNative, kAvx},
    {0x21, Op::VINSERTPS,         {Vdq, Hdq, Wd, Ib},   k66 | kL0 | kNative, kAvx},
    {0x22, Op::VPINSRQ,           {Vdq, Hdq, Ey, Ib},   k66 | kL0 | kW1 | kOnly64 | kNative, kAvx},
    {0x22, Op::VPINSRD,           {Vdq, Hdq, Ey, Ib},   k66 | kL0 | kNative, kAvx},
    {0x38, Op::VINSERTI128,       {Vqq, Hqq, Wdq, Ib},  k66 | kW0 | kL1 | kNative, kAvx2},
    {0x39, Op::VEXTRACTI128,      {Wdq, Vqq, Ib},       k66 | kW0 | kL1 | kNative, kAvx2},
    {0x40, Op::VDPPS,             {Vx, Hx, Wx, Ib},     k66 | kNative, kAvx},
    {0x41, Op::VDPPD,             {Vdq, Hdq, Wdq, Ib},  k66 | kL0 | kNative, kAvx},
    {0x42, Op::VMPSADBW,          {Vx, Hx, Wx, Ib},     k66 | kNative | kYmmAvx2, kAvx},
    {0x44, Op::VPCLMULQDQ,        {Vdq, Hdq, Wdq, Ib},  k66 | kL0 | kNative, Feature::PCLMULQDQ},
    {0x44, Op::VPCLMULQDQ,        {Vqq, Hqq, Wqq, Ib},  k66 | kL1 | kNative, Feature::VPCLMULQDQ},
    {0x46, Op::VPERM2I128,        {Vqq, Hqq, Wqq, Ib},  k66 | kW0 | kL1 | kNative, kAvx2},
    {0x4A, Op::VBLENDVPS,         {Vx, Hx, Wx, Lx},     k66 | kW0 | kNative, kAvx},
    {0x4B, Op::VBLENDVPD,         {Vx, Hx, Wx, Lx},     k66 | kW0 | kNative, kAvx},
    {0x4C, Op::VPBLENDVB,         {Vx, Hx, Wx, Lx},     k66 | kW0 | kNative | kYmmAvx2, kAvx},
    {0x60, Op::VPCMPESTRM,        {Vdq, Wdq, Ib},       k66 | kL0 | kNative, kAvx},
    {0x61, Op::VPCMPESTRI,        {Vdq, Wdq, Ib},       k66 | kL0 | kNative, kAvx},
    {0x62, Op::VPCMPISTRM,        {Vdq, Wdq, Ib},       k66 | kL0 | kNative, kAvx},
    {0x63, Op::VPCMPISTRI,        {Vdq, Wdq, Ib},       k66 | kL0 | kNative, kAvx},
    {0xCE, Op::VGF2P8AFFINEQB,    {Vx, Hx, Wx, Ib},     k66 | kW1 | kNative, Feature::GFNI},
    {0xCF, Op::VGF2P8AFFINEINVQB, {Vx, Hx, Wx, Ib},     k66 | kW1 | kNative, Feature::GFNI},
    {0xDF, Op::VAESKEYGENASSIST,  {Vdq, Wdq, Ib},       k66 | kL0 | kNative, Feature::AES},
    {0xF0, Op::RORX,              {Gy, Ey, Ib},         kF2 | kL0, Feature::BMI2},
});
// clang-format on
static_assert(sorted_by_opcode(kVexMap0F3A), "keep the table in opcode order");

constexpr auto kRows = expand_rows<expanded_count(kVexMap0F3A)>(kVexMap0F3A);
constexpr auto kTable = build_map<kSplitCells<kRows>>(kRows, {OpcodeMap::Map0F3A, true});

}  // namespace

constinit const MapView kVex0F3A = view_of(kTable, kRows);

}  // namespace droste::opcode_map

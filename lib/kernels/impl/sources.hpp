// Where a type's unpack step reads a unit of R rows from: rows one after the other, or packed side by side
// (tensor/pack.hpp). Offsets are those of the stored block, so a step is written once for both.
//   word<O>, half<O>, half_bits<O>   a field of each row, lanes = rows
//   chunk(i, o)                      16 bytes of codes from offset o: of rows i, 4+i, ... as they are stored, or, packed,
//                                    bytes 4i .. 4i+3 of all rows. Steps on it must act on each byte alone.
#pragma once

#include "kernels/impl/simd.hpp"
#include "puna/tensor/pack.hpp"

namespace puna {
namespace {

template <class A>
struct Words {  // 16 bytes of each row, as four vectors of 32-bit words, lanes = rows
  typename A::I w[4];
};

template <class A>
PUNA_INLINE Words<A> transpose(const typename A::I (&v)[4]) {
  const auto a = A::low32(v[0], v[1]), b = A::high32(v[0], v[1]);
  const auto c = A::low32(v[2], v[3]), d = A::high32(v[2], v[3]);
  return {{A::low64(a, c), A::high64(a, c), A::low64(b, d), A::high64(b, d)}};
}

template <class A>
PUNA_INLINE Words<A> words_at(const std::byte* const* rows, std::size_t offset) {
  const typename A::I v[4] = {A::gather16(rows, offset), A::gather16(rows + 1, offset), A::gather16(rows + 2, offset),
                              A::gather16(rows + 3, offset)};
  return transpose<A>(v);
}

template <class A, class Block>
struct RowsSource {
  static constexpr bool packed = false;
  using I = typename A::I;
  using F = typename A::F;
  const std::byte* const* rows;
  std::size_t at;

  // The 16 bytes around offset O, never past the block's end.
  template <int O>
  static constexpr int base() {
    const int end = static_cast<int>(sizeof(Block));
    return O / 16 * 16 + 16 <= end ? O / 16 * 16 : end - 16;
  }
  template <int Base>
  PUNA_INLINE Words<A> words() const { return words_at<A>(rows, at + Base); }
  template <int O>
  PUNA_INLINE I word() const {
    constexpr int from = base<O>(), into = O - from;
    if constexpr (into % 4 == 0) {
      return words<from>().w[into / 4];
    } else {
      constexpr int shift = into % 4;
      const I v[4] = {A::template bytes_down<shift>(chunk(0, from)), A::template bytes_down<shift>(chunk(1, from)),
                      A::template bytes_down<shift>(chunk(2, from)), A::template bytes_down<shift>(chunk(3, from))};
      return transpose<A>(v).w[into / 4];
    }
  }
  template <int O>
  PUNA_INLINE I half_bits() const {
    constexpr int into = O - base<O>();
    const I word = words<base<O>()>().w[into / 4];
    return into % 4 ? A::shr(word, 16) : A::and_(word, A::set32(0xffff));
  }
  template <int O>
  PUNA_INLINE F half() const { return A::half_lanes(half_bits<O>()); }
  PUNA_INLINE I chunk(int i, std::size_t o) const { return A::gather16(rows + i, at + o); }
};

template <class A, DType Type>
struct PackedSource {
  static constexpr bool packed = true;
  using I = typename A::I;
  using F = typename A::F;
  static constexpr PackShape shape = pack_shape(Type);
  static constexpr std::size_t R = A::lanes;
  const std::byte* unit;

  template <int O>
  PUNA_INLINE const std::byte* half_place() const { return unit + (O - shape.half_at) / 2 * 2 * R; }
  template <int O>
  PUNA_INLINE I word() const { return chunk(0, O); }
  template <int O>
  PUNA_INLINE F half() const { return A::load_f16(half_place<O>()); }
  template <int O>
  PUNA_INLINE I half_bits() const { return A::load_u16(half_place<O>()); }
  PUNA_INLINE I chunk(int i, std::size_t o) const {
    return A::loadu(unit + 2 * R * shape.halves + ((o - shape.lead()) / 4 + static_cast<unsigned>(i)) * 4 * R);
  }
};

}  // namespace
}  // namespace puna

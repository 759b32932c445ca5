// The unpack step of each quantized type, one per type for all ISAs.
//
// A type's unit is its block (or superblock) of `blocks` times 32 elements. For a group of rows, head() turns the unit's
// scales and minimums into floats, one vector of R rows per 32 (or 16) elements, and codes(i, j) gives one register of the
// codes of its j-th 32 elements: elements 0..15 in `low`, 16..31 in `high`, of the rows or, packed, the words that the
// source's chunk(i, ...) holds. A code is 0..63 with `offset` still to be subtracted, or a signed byte.
#pragma once

#include "kernels/impl/sources.hpp"

namespace puna {
namespace {

// Byte k of each word, unsigned, signed, or one nibble of it, as a float.
template <class A>
PUNA_INLINE typename A::F byte_of(typename A::I word, int k) {
  return A::to_float(A::and_(A::shr(word, 8 * k), A::set32(255)));
}
template <class A>
PUNA_INLINE typename A::F signed_byte_of(typename A::I word, int k) {
  return A::to_float(A::sar(A::shl(word, 24 - 8 * k), 24));
}
template <class A>
PUNA_INLINE typename A::F nibble_of(typename A::I word, int k) {
  return A::to_float(A::and_(A::shr(word, 4 * k), A::set32(15)));
}

template <class A>
PUNA_INLINE void put(float* to, int index, typename A::F v) {
  v.store_aligned(to + index * A::lanes);
}

template <class A>
PUNA_INLINE typename A::I nibbles(typename A::I bytes, int shift) {
  return A::and_(A::shr(bytes, shift), A::set8(15));
}

// Four bytes of each 16 spread so that bit j of them becomes bit 4 of byte j.
template <class A>
PUNA_INLINE typename A::I fifth_bits(typename A::I head, const std::uint8_t (&index)[16]) {
  alignas(16) static constexpr std::uint8_t bit_of[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto bit = A::splat16(bit_of);
  const auto spread = A::lookup16(head, A::splat16(index));
  return A::and_(A::equal8(A::and_(spread, bit), bit), A::set8(16));
}

// What types are unless they say otherwise.
struct Legacy {
  static constexpr int blocks = 1;
  static constexpr bool per_16 = false;
  static constexpr bool minimums = false;
  static constexpr bool signed_codes = false;
  static constexpr int offset = 0;
  static constexpr int largest = 15;  // code
};
struct Super : Legacy {
  static constexpr int blocks = 8;
};

struct StepQ4_0 : Legacy {
  using Block = BlockQ4_0;
  static constexpr DType type = DType::q4_0;
  static constexpr int offset = 8;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float*) {
    put<A>(scales, 0, s.template half<0>());
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    const auto bytes = s.chunk(i, 2);
    low = nibbles<A>(bytes, 0);
    high = nibbles<A>(bytes, 4);
  }
};

struct StepQ4_1 : Legacy {
  using Block = BlockQ4_1;
  static constexpr DType type = DType::q4_1;
  static constexpr bool minimums = true;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float* mins) {
    put<A>(scales, 0, s.template half<0>());
    put<A>(mins, 0, s.template half<2>());
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    const auto bytes = s.chunk(i, 4);
    low = nibbles<A>(bytes, 0);
    high = nibbles<A>(bytes, 4);
  }
};

// A row's word of 32 fifth bits; those of the packed elements 4n .. 4n+3, as bit 4 of each byte.
template <class A>
PUNA_INLINE typename A::I spread_fifth(typename A::I word, int n) {
  const auto bits = A::and_(A::shr(word, 4 * n), A::set32(15));
  const auto two = A::or_(bits, A::shl(bits, 7));
  return A::shl(A::and_(A::or_(two, A::shl(two, 14)), A::set8(1)), 4);
}

template <int QH, class A, class S>  // QH: where the fifth bits stand
PUNA_INLINE void codes_of_5_bits(const S& s, int i, typename A::I& low, typename A::I& high) {
  const auto bytes = s.chunk(i, QH + 4);
  low = nibbles<A>(bytes, 0);
  high = nibbles<A>(bytes, 4);
  if constexpr (S::packed) {
    const auto word = s.template word<QH>();
    low = A::or_(low, spread_fifth<A>(word, i));
    high = A::or_(high, spread_fifth<A>(word, i + 4));
  } else {
    alignas(16) static constexpr std::uint8_t first[16] = {QH,     QH,     QH,     QH,     QH,     QH,     QH,     QH,
                                                           QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1};
    alignas(16) static constexpr std::uint8_t last[16] = {QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2,
                                                          QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3};
    const auto header = s.chunk(i, 0);
    low = A::or_(low, fifth_bits<A>(header, first));
    high = A::or_(high, fifth_bits<A>(header, last));
  }
}

struct StepQ5_0 : StepQ4_0 {
  using Block = BlockQ5_0;
  static constexpr DType type = DType::q5_0;
  static constexpr int offset = 16;
  static constexpr int largest = 31;
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    codes_of_5_bits<2, A>(s, i, low, high);
  }
};

struct StepQ5_1 : StepQ4_1 {
  using Block = BlockQ5_1;
  static constexpr DType type = DType::q5_1;
  static constexpr int largest = 31;
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    codes_of_5_bits<4, A>(s, i, low, high);
  }
};

struct StepQ8_0 : StepQ4_0 {
  using Block = BlockQ8_0;
  static constexpr DType type = DType::q8_0;
  static constexpr bool signed_codes = true;
  static constexpr int offset = 0;
  static constexpr int largest = 128;
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    low = s.chunk(i, 2);
    high = s.chunk(i, 18);
  }
};

struct StepQ8F32 : StepQ8_0 {
  using Block = BlockQ8F32;
  static constexpr DType type = DType::q8_f32;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float*) {
    put<A>(scales, 0, A::bits(s.template word<0>()));
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    low = s.chunk(i, 4);
    high = s.chunk(i, 20);
  }
};

template <class A>
PUNA_INLINE void level_codes(typename A::I bytes, typename A::I& low, typename A::I& high) {
  const auto levels = A::splat16(iq4_levels);
  low = A::lookup16(levels, nibbles<A>(bytes, 0));
  high = A::lookup16(levels, nibbles<A>(bytes, 4));
}

struct StepIQ4NL : StepQ8_0 {
  using Block = BlockIQ4NL;
  static constexpr DType type = DType::iq4_nl;
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int, typename A::I& low, typename A::I& high) {
    level_codes<A>(s.chunk(i, 2), low, high);
  }
};

struct StepIQ4XS : Super {
  using Block = BlockIQ4XS;
  static constexpr DType type = DType::iq4_xs;
  static constexpr bool signed_codes = true;
  static constexpr int largest = 128;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float*) {
    const auto d = s.template half<0>();
    const auto upper = s.template half_bits<2>(), lower = s.template word<4>();
    for (int j = 0; j < 8; ++j) {
      const auto low = A::and_(A::shr(lower, 4 * j), A::set32(15));
      const auto high = A::and_(A::shr(upper, 2 * j), A::set32(3));
      put<A>(scales, j, d * A::to_float(A::sub32(A::or_(low, A::shl(high, 4)), A::set32(32))));
    }
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    level_codes<A>(s.chunk(i, 8 + 16 * static_cast<unsigned>(j)), low, high);
  }
};

struct StepQ2K : Super {
  using Block = BlockQ2K;
  static constexpr DType type = DType::q2_k;
  static constexpr bool per_16 = true;
  static constexpr bool minimums = true;
  static constexpr int largest = 3;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float* mins) {
    const typename A::I words[4] = {s.template word<0>(), s.template word<4>(), s.template word<8>(), s.template word<12>()};
    const auto d = s.template half<80>(), dmin = s.template half<82>();
    for (int k = 0; k < 16; ++k) {
      put<A>(scales, k, d * nibble_of<A>(words[k / 4], 2 * (k % 4)));
      put<A>(mins, k, -(dmin * nibble_of<A>(words[k / 4], 2 * (k % 4) + 1)));
    }
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    const std::size_t qs = 16 + 32 * static_cast<unsigned>(j / 4);
    low = A::and_(A::shr(s.chunk(i, qs), 2 * (j % 4)), A::set8(3));
    high = A::and_(A::shr(s.chunk(i, qs + 16), 2 * (j % 4)), A::set8(3));
  }
};

struct StepQ3K : Super {
  using Block = BlockQ3K;
  static constexpr DType type = DType::q3_k;
  static constexpr bool per_16 = true;
  static constexpr int offset = 4;
  static constexpr int largest = 7;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float*) {
    const typename A::I words[3] = {s.template word<96>(), s.template word<100>(), s.template word<104>()};
    const auto d = s.template half<108>();
    const auto nibble = A::set8(15), two = A::set8(3);
    for (int g = 0; g < 4; ++g) {  // scales 4g .. 4g+3, a byte each
      const auto low = A::and_(A::shr(words[g % 2], 4 * (g / 2)), nibble);
      const auto high = A::and_(A::shr(words[2], 2 * g), two);
      const auto codes = A::or_(low, A::shl(high, 4));
      for (int k = 0; k < 4; ++k) {
        const auto code = A::and_(A::shr(codes, 8 * k), A::set32(255));
        put<A>(scales, 4 * g + k, d * A::to_float(A::sub32(code, A::set32(32))));
      }
    }
  }
  template <class A, class S>
  static PUNA_INLINE typename A::I code(const S& s, int i, int j, unsigned half) {
    const auto low = A::shr(s.chunk(i, 32 + 32 * static_cast<unsigned>(j / 4) + half), 2 * (j % 4));
    const auto high = A::shr(s.chunk(i, half), j);
    return A::or_(A::and_(low, A::set8(3)), A::shl(A::and_(high, A::set8(1)), 2));
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(s, i, j, 0);
    high = code<A>(s, i, j, 16);
  }
};

struct StepQ4K : Super {
  using Block = BlockQ4K;
  static constexpr DType type = DType::q4_k;
  static constexpr bool minimums = true;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float* mins) {
    const auto d = s.template half<0>(), dmin = s.template half<2>();
    const auto w1 = s.template word<4>(), w2 = s.template word<8>(), w3 = s.template word<12>();
    const auto six = A::set8(63), nibble = A::set8(15), two = A::set8(3);
    const auto top = [&](typename A::I w) { return A::shl(A::and_(A::shr(w, 6), two), 4); };
    const typename A::I scale[2] = {A::and_(w1, six), A::or_(A::and_(w3, nibble), top(w1))};
    const typename A::I m[2] = {A::and_(w2, six), A::or_(A::and_(A::shr(w3, 4), nibble), top(w2))};
    for (int j = 0; j < 8; ++j) {
      put<A>(scales, j, d * byte_of<A>(scale[j / 4], j % 4));
      put<A>(mins, j, -(dmin * byte_of<A>(m[j / 4], j % 4)));
    }
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    const std::size_t qs = 16 + 32 * static_cast<unsigned>(j / 2);
    low = nibbles<A>(s.chunk(i, qs), 4 * (j % 2));
    high = nibbles<A>(s.chunk(i, qs + 16), 4 * (j % 2));
  }
};

struct StepQ5K : StepQ4K {
  using Block = BlockQ5K;
  static constexpr DType type = DType::q5_k;
  static constexpr int largest = 31;
  template <class A, class S>
  static PUNA_INLINE typename A::I code(const S& s, int i, int j, unsigned half) {
    const auto low = nibbles<A>(s.chunk(i, 48 + 32 * static_cast<unsigned>(j / 2) + half), 4 * (j % 2));
    const auto high = A::and_(A::shr(s.chunk(i, 16 + half), j), A::set8(1));
    return A::or_(low, A::shl(high, 4));
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(s, i, j, 0);
    high = code<A>(s, i, j, 16);
  }
};

struct StepQ6K : Super {
  using Block = BlockQ6K;
  static constexpr DType type = DType::q6_k;
  static constexpr bool per_16 = true;
  static constexpr int offset = 32;
  static constexpr int largest = 63;
  template <class A, class S>
  static PUNA_INLINE void head(const S& s, float* scales, float*) {
    const typename A::I words[4] = {s.template word<192>(), s.template word<196>(), s.template word<200>(),
                                    s.template word<204>()};
    const auto d = s.template half<208>();
    for (int k = 0; k < 16; ++k) put<A>(scales, k, d * signed_byte_of<A>(words[k / 4], k % 4));
  }
  template <class A, class S>
  static PUNA_INLINE typename A::I code(const S& s, int i, int j, unsigned half) {
    const unsigned part = static_cast<unsigned>(j) % 4, upper = static_cast<unsigned>(j) / 4;
    const auto low = s.chunk(i, 64 * upper + 32 * (part & 1) + half);
    const auto high = A::shr(s.chunk(i, 128 + 32 * upper + half), 2 * static_cast<int>(part));
    return A::or_(nibbles<A>(low, 4 * static_cast<int>(part / 2)), A::shl(A::and_(high, A::set8(3)), 4));
  }
  template <class A, class S>
  static PUNA_INLINE void codes(const S& s, int i, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(s, i, j, 0);
    high = code<A>(s, i, j, 16);
  }
};

}  // namespace
}  // namespace puna

// The unpack step of each quantized type, one per type for all ISAs.
//
// A type's unit is its block (or superblock) of `blocks` times 32 elements. For a group of rows, head() turns the unit's
// scales and minimums into floats, one vector of R rows per 32 (or 16) elements, and codes() gives one 32-element block of
// the rows of one register: elements 0..15 in `low`, 16..31 in `high`. A code is 0..63 with `offset` still to be
// subtracted, or a signed byte.
#pragma once

#include "kernels/impl/simd.hpp"

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

template <class A>
PUNA_INLINE typename A::F low_half(typename A::I word) {
  return A::half_lanes(A::and_(word, A::set32(0xffff)));
}
template <class A>
PUNA_INLINE typename A::F high_half(typename A::I word) {
  return A::half_lanes(A::shr(word, 16));
}

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
  static constexpr int offset = 8;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float*) {
    put<A>(scales, 0, low_half<A>(words_at<A>(rows, at).w[0]));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    const auto bytes = A::gather16(rows, at + 2);
    low = nibbles<A>(bytes, 0);
    high = nibbles<A>(bytes, 4);
  }
};

struct StepQ4_1 : Legacy {
  using Block = BlockQ4_1;
  static constexpr bool minimums = true;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float* mins) {
    const auto word = words_at<A>(rows, at).w[0];
    put<A>(scales, 0, low_half<A>(word));
    put<A>(mins, 0, high_half<A>(word));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    const auto bytes = A::gather16(rows, at + 4);
    low = nibbles<A>(bytes, 0);
    high = nibbles<A>(bytes, 4);
  }
};

template <int QH, class A>  // QH: where the fifth bits stand
PUNA_INLINE void codes_of_5_bits(const std::byte* const* rows, std::size_t at, typename A::I& low, typename A::I& high) {
  alignas(16) static constexpr std::uint8_t first[16] = {QH,     QH,     QH,     QH,     QH,     QH,     QH,     QH,
                                                         QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1, QH + 1};
  alignas(16) static constexpr std::uint8_t last[16] = {QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2, QH + 2,
                                                        QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3, QH + 3};
  const auto header = A::gather16(rows, at);
  const auto bytes = A::gather16(rows, at + QH + 4);
  low = A::or_(nibbles<A>(bytes, 0), fifth_bits<A>(header, first));
  high = A::or_(nibbles<A>(bytes, 4), fifth_bits<A>(header, last));
}

struct StepQ5_0 : StepQ4_0 {
  using Block = BlockQ5_0;
  static constexpr int offset = 16;
  static constexpr int largest = 31;
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    codes_of_5_bits<2, A>(rows, at, low, high);
  }
};

struct StepQ5_1 : StepQ4_1 {
  using Block = BlockQ5_1;
  static constexpr int largest = 31;
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    codes_of_5_bits<4, A>(rows, at, low, high);
  }
};

struct StepQ8_0 : StepQ4_0 {
  using Block = BlockQ8_0;
  static constexpr bool signed_codes = true;
  static constexpr int offset = 0;
  static constexpr int largest = 128;
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    low = A::gather16(rows, at + 2);
    high = A::gather16(rows, at + 18);
  }
};

struct StepQ8F32 : StepQ8_0 {
  using Block = BlockQ8F32;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float*) {
    put<A>(scales, 0, A::bits(words_at<A>(rows, at).w[0]));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    low = A::gather16(rows, at + 4);
    high = A::gather16(rows, at + 20);
  }
};

template <class A>
PUNA_INLINE void level_codes(const std::byte* const* rows, std::size_t at, typename A::I& low, typename A::I& high) {
  const auto levels = A::splat16(iq4_levels);
  const auto bytes = A::gather16(rows, at);
  low = A::lookup16(levels, nibbles<A>(bytes, 0));
  high = A::lookup16(levels, nibbles<A>(bytes, 4));
}

struct StepIQ4NL : StepQ8_0 {
  using Block = BlockIQ4NL;
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int, typename A::I& low, typename A::I& high) {
    level_codes<A>(rows, at + 2, low, high);
  }
};

struct StepIQ4XS : Super {
  using Block = BlockIQ4XS;
  static constexpr bool signed_codes = true;
  static constexpr int largest = 128;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float*) {
    const auto words = words_at<A>(rows, at);
    const auto d = low_half<A>(words.w[0]);
    for (int j = 0; j < 8; ++j) {
      const auto low = A::and_(A::shr(words.w[1], 4 * j), A::set32(15));
      const auto high = A::and_(A::shr(words.w[0], 16 + 2 * j), A::set32(3));
      put<A>(scales, j, d * A::to_float(A::sub32(A::or_(low, A::shl(high, 4)), A::set32(32))));
    }
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    level_codes<A>(rows, at + 8 + 16 * static_cast<unsigned>(j), low, high);
  }
};

struct StepQ2K : Super {
  using Block = BlockQ2K;
  static constexpr bool per_16 = true;
  static constexpr bool minimums = true;
  static constexpr int largest = 3;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float* mins) {
    const auto words = words_at<A>(rows, at);
    const auto both = words_at<A>(rows, at + 68).w[3];
    const auto d = low_half<A>(both), dmin = high_half<A>(both);
    for (int k = 0; k < 16; ++k) {
      put<A>(scales, k, d * nibble_of<A>(words.w[k / 4], 2 * (k % 4)));
      put<A>(mins, k, -(dmin * nibble_of<A>(words.w[k / 4], 2 * (k % 4) + 1)));
    }
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    const std::size_t qs = at + 16 + 32 * static_cast<unsigned>(j / 4);
    low = A::and_(A::shr(A::gather16(rows, qs), 2 * (j % 4)), A::set8(3));
    high = A::and_(A::shr(A::gather16(rows, qs + 16), 2 * (j % 4)), A::set8(3));
  }
};

struct StepQ3K : Super {
  using Block = BlockQ3K;
  static constexpr bool per_16 = true;
  static constexpr int offset = 4;
  static constexpr int largest = 7;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float*) {
    typename A::I v[4];  // the block's last 14 bytes; reading 16 from their start would leave it
    for (int i = 0; i < 4; ++i) v[i] = A::template bytes_down<2>(A::gather16(rows + i, at + 94));
    const auto words = transpose<A>(v);
    const auto d = low_half<A>(words.w[3]);
    const auto nibble = A::set8(15), two = A::set8(3);
    for (int g = 0; g < 4; ++g) {  // scales 4g .. 4g+3, a byte each
      const auto low = A::and_(A::shr(words.w[g % 2], 4 * (g / 2)), nibble);
      const auto high = A::and_(A::shr(words.w[2], 2 * g), two);
      const auto codes = A::or_(low, A::shl(high, 4));
      for (int k = 0; k < 4; ++k) {
        const auto code = A::and_(A::shr(codes, 8 * k), A::set32(255));
        put<A>(scales, 4 * g + k, d * A::to_float(A::sub32(code, A::set32(32))));
      }
    }
  }
  template <class A>
  static PUNA_INLINE typename A::I code(const std::byte* const* rows, std::size_t at, int j, unsigned half) {
    const auto low = A::shr(A::gather16(rows, at + 32 + 32 * static_cast<unsigned>(j / 4) + half), 2 * (j % 4));
    const auto high = A::shr(A::gather16(rows, at + half), j);
    return A::or_(A::and_(low, A::set8(3)), A::shl(A::and_(high, A::set8(1)), 2));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(rows, at, j, 0);
    high = code<A>(rows, at, j, 16);
  }
};

struct StepQ4K : Super {
  using Block = BlockQ4K;
  static constexpr bool minimums = true;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float* mins) {
    const auto words = words_at<A>(rows, at);
    const auto d = low_half<A>(words.w[0]), dmin = high_half<A>(words.w[0]);
    const auto six = A::set8(63), nibble = A::set8(15), two = A::set8(3);
    const auto top = [&](typename A::I w) { return A::shl(A::and_(A::shr(w, 6), two), 4); };
    const typename A::I s[2] = {A::and_(words.w[1], six), A::or_(A::and_(words.w[3], nibble), top(words.w[1]))};
    const typename A::I m[2] = {A::and_(words.w[2], six), A::or_(A::and_(A::shr(words.w[3], 4), nibble), top(words.w[2]))};
    for (int j = 0; j < 8; ++j) {
      put<A>(scales, j, d * byte_of<A>(s[j / 4], j % 4));
      put<A>(mins, j, -(dmin * byte_of<A>(m[j / 4], j % 4)));
    }
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    const std::size_t qs = at + 16 + 32 * static_cast<unsigned>(j / 2);
    low = nibbles<A>(A::gather16(rows, qs), 4 * (j % 2));
    high = nibbles<A>(A::gather16(rows, qs + 16), 4 * (j % 2));
  }
};

struct StepQ5K : StepQ4K {
  using Block = BlockQ5K;
  static constexpr int largest = 31;
  template <class A>
  static PUNA_INLINE typename A::I code(const std::byte* const* rows, std::size_t at, int j, unsigned half) {
    const auto low = nibbles<A>(A::gather16(rows, at + 48 + 32 * static_cast<unsigned>(j / 2) + half), 4 * (j % 2));
    const auto high = A::and_(A::shr(A::gather16(rows, at + 16 + half), j), A::set8(1));
    return A::or_(low, A::shl(high, 4));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(rows, at, j, 0);
    high = code<A>(rows, at, j, 16);
  }
};

struct StepQ6K : Super {
  using Block = BlockQ6K;
  static constexpr bool per_16 = true;
  static constexpr int offset = 32;
  static constexpr int largest = 63;
  template <class A>
  static PUNA_INLINE void head(const std::byte* const* rows, std::size_t at, float* scales, float*) {
    const auto words = words_at<A>(rows, at + 192);
    const auto d = high_half<A>(words_at<A>(rows, at + 194).w[3]);
    for (int k = 0; k < 16; ++k) put<A>(scales, k, d * signed_byte_of<A>(words.w[k / 4], k % 4));
  }
  template <class A>
  static PUNA_INLINE typename A::I code(const std::byte* const* rows, std::size_t at, int j, unsigned half) {
    const unsigned part = static_cast<unsigned>(j) % 4, upper = static_cast<unsigned>(j) / 4;
    const auto low = A::gather16(rows, at + 64 * upper + 32 * (part & 1) + half);
    const auto high = A::shr(A::gather16(rows, at + 128 + 32 * upper + half), 2 * static_cast<int>(part));
    return A::or_(nibbles<A>(low, 4 * static_cast<int>(part / 2)), A::shl(A::and_(high, A::set8(3)), 4));
  }
  template <class A>
  static PUNA_INLINE void codes(const std::byte* const* rows, std::size_t at, int j, typename A::I& low, typename A::I& high) {
    low = code<A>(rows, at, j, 0);
    high = code<A>(rows, at, j, 16);
  }
};

}  // namespace
}  // namespace puna

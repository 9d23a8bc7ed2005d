/* crc32c: polynomial 0x1EDC6F41, reflected, as in iSCSI and ext4 (RFC 3720, B.4).
 *
 * Polynomials are kept reflected: bit 31 of a word is the coefficient of x^0.
 * With the SSE4.2 instruction one lane is bound by its latency of three cycles, so three
 * lanes go at a time; PCLMULQDQ moves the results of the first two past the bytes of the
 * lanes behind them. */
#include "image/crc32c.h"

#include "image/image.h"

#include <pthread.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define POLY UINT32_C(0x82f63b78)
enum { LANE = 1024 };

static uint32_t slice[8][256];
static uint32_t xpow2[64]; /* x^(2^k) mod P */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t (*best)(uint32_t crc, const unsigned char *p, size_t n);
#ifdef __x86_64__
static uint32_t move1, move2; /* factors that move a CRC by one and by two lanes */
#endif

static uint32_t poly_mul(uint32_t a, uint32_t b)
{
	uint32_t r = 0;

	for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
		if (a & bit)
			r ^= b;
		b = b & 1 ? b >> 1 ^ POLY : b >> 1;
	}
	return r;
}

/* x^n mod P */
static uint32_t poly_xpow(uint64_t n)
{
	uint32_t r = UINT32_C(1) << 31;

	for (unsigned k = 0; n; n >>= 1, k++)
		if (n & 1)
			r = poly_mul(r, xpow2[k]);
	return r;
}

static uint64_t load64(const unsigned char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t by_tables(uint32_t c, const unsigned char *p, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v = load64(p) ^ c;

		c = 0;
		for (int i = 0; i < 8; i++)
			c ^= slice[7 - i][v >> 8 * i & 0xff];
	}
#endif
	for (; n; n--)
		c = c >> 8 ^ slice[0][(c ^ *p++) & 0xff];
	return c;
}

#ifdef __x86_64__
#define SSE __attribute__((target("sse4.2,pclmul")))

/* The product of two 32-bit reflected words stands one bit low in 64 bits, and the crc32
 * instruction multiplies by x^32: hence the factors x^(8*bytes - 33). */
static SSE uint64_t moved(uint64_t c, uint32_t factor)
{
	__m128i v = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)c), _mm_cvtsi32_si128((int)factor), 0);

	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(v));
}

static SSE uint32_t by_sse(uint32_t crc, const unsigned char *p, size_t n)
{
	uint64_t a = crc;

	for (; n >= (size_t)3 * LANE; n -= (size_t)3 * LANE, p += 3 * LANE) {
		uint64_t b = 0, c = 0;

		for (size_t i = 0; i < LANE; i += 8) {
			a = _mm_crc32_u64(a, load64(p + i));
			b = _mm_crc32_u64(b, load64(p + LANE + i));
			c = _mm_crc32_u64(c, load64(p + 2 * LANE + i));
		}
		a = moved(a, move2) ^ moved(b, move1) ^ c;
	}
	for (; n >= 8; n -= 8, p += 8)
		a = _mm_crc32_u64(a, load64(p));
	for (; n; n--)
		a = _mm_crc32_u8((uint32_t)a, *p++);
	return (uint32_t)a;
}
#endif

static void init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ POLY : c >> 1;
		slice[0][i] = c;
	}
	for (int s = 1; s < 8; s++)
		for (int i = 0; i < 256; i++)
			slice[s][i] = slice[s - 1][i] >> 8 ^ slice[0][slice[s - 1][i] & 0xff];
	xpow2[0] = UINT32_C(1) << 30;
	for (int k = 1; k < 64; k++)
		xpow2[k] = poly_mul(xpow2[k - 1], xpow2[k - 1]);
	best = by_tables;
#ifdef __x86_64__
	move1 = poly_xpow(8 * LANE - 33);
	move2 = poly_xpow(16 * LANE - 33);
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		best = by_sse;
#endif
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, init);
	return ~best(~crc, p, n);
}

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, init);
	return ~by_tables(~crc, p, n);
}

uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_len)
{
	pthread_once(&once, init);
	/* bit k of the length in bits is bit k-3 of the length in bytes; lengths stay below 2^61 */
	uint32_t x = UINT32_C(1) << 31;

	for (unsigned k = 3; b_len; b_len >>= 1, k++)
		if (b_len & 1)
			x = poly_mul(x, xpow2[k & 63]);
	return poly_mul(x, a) ^ b;
}

void crc32c_run_add(struct crc32c_run *r, const void *p, size_t n)
{
	r->part = crc32c(r->part, p, n);
	r->part_len += n;
}

void crc32c_run_add_crc(struct crc32c_run *r, uint32_t crc, uint64_t n)
{
	r->part = crc32c_combine(r->part, crc, n);
	r->part_len += n;
}

uint32_t crc32c_run_cut(struct crc32c_run *r)
{
	uint32_t part = r->part;

	r->all = crc32c_combine(r->all, part, r->part_len);
	r->part = 0;
	r->part_len = 0;
	return part;
}

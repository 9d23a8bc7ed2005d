/* crc32c: CRC-32C of pieces, put together. The checksum itself, crc32c(), is in image.h. */
#ifndef XOS_IMAGE_CRC32C_H
#define XOS_IMAGE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The same result as crc32c() by another way: tables, for CPUs without the instructions. */
uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n);

/* CRC of A followed by B, from those of A and B alone; b_len is B's length in bytes. */
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_len);

/* The running checksum of a stream that is cut into parts. Each byte is read once for the
 * CRC of its part, and the parts are combined into that of the whole. */
struct crc32c_run {
	uint32_t all;      /* of all parts that have ended */
	uint32_t part;     /* of the part that has begun */
	uint64_t part_len;
};
void crc32c_run_add(struct crc32c_run *r, const void *p, size_t n);
void crc32c_run_add_crc(struct crc32c_run *r, uint32_t crc, uint64_t n); /* n bytes whose CRC is known */
uint32_t crc32c_run_cut(struct crc32c_run *r); /* ends the part and returns its CRC */

#endif

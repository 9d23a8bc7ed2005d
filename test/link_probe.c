/* link_probe: what of libarchive the tools use; the Makefile tries with it whether the static library can be linked. */
#include <archive.h>

int main(void)
{
	struct archive *a = archive_read_new();

	archive_read_support_filter_gzip(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_lz4(a);
	archive_read_support_format_tar(a);
	return archive_write_set_format_pax_restricted(archive_write_new());
}

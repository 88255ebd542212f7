/* The extension's digest; libcrypto stays in this file. */
#include "layout/ext.h"

#include <openssl/evp.h>

bool lay_md5(const void *data, size_t bytes, uint8_t out[LAY_MD5_BYTES])
{
	return EVP_Digest(data, bytes, out, NULL, EVP_md5(), NULL) == 1;
}

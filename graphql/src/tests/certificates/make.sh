#!/usr/bin/env bash
# Makes the certificates that the tests of TLS shake hands with: `bash make.sh`, with OpenSSL 3. All hold from 2020 to 2120, but for
# the one that is to have expired. The keys guard nothing.
set -euo pipefail
cd "$(dirname "$0")"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2> /dev/null
}

# authority NAME SUBJECT
authority() {
    key "$1"
    mkdir "$work/$1"
    touch "$work/$1/index"
    echo 01 > "$work/$1/crlnumber"
    cat > "$work/$1.conf" << END
[ca]
default_ca = it
[it]
database = $work/$1/index
new_certs_dir = $work/$1
crlnumber = $work/$1/crlnumber
crl_extensions = revoked
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
countryName = optional
organizationName = optional
organizationalUnitName = optional
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[revoked]
authorityKeyIdentifier = keyid:always
END
    openssl req -new -key "$1.key" -subj "$2" -out "$work/it.csr"
    openssl ca -batch -notext -config "$work/$1.conf" -extensions authority -selfsign -keyfile "$1.key" -in "$work/it.csr" \
        -startdate 20200101000000Z -enddate 21200101000000Z -out "$1.pem" 2> /dev/null
}

# leaf NAME AUTHORITY SUBJECT EXTENSIONS [END]
leaf() {
    key "$1"
    openssl req -new -key "$1.key" -subj "$3" -out "$work/it.csr"
    printf 'basicConstraints = CA:FALSE\n%b\n' "$4" > "$work/it.extensions"
    openssl ca -batch -notext -preserveDN -config "$work/$2.conf" -cert "$2.pem" -keyfile "$2.key" -in "$work/it.csr" \
        -extfile "$work/it.extensions" -startdate 20200101000000Z -enddate "${5:-21200101000000Z}" -out "$1.pem" 2> /dev/null
}

authority ca "/CN=Colonnade test CA"
authority other "/CN=Another test CA"
for name in server renewed; do
    leaf $name ca "/CN=$name" "subjectAltName = DNS:localhost, IP:127.0.0.1\nextendedKeyUsage = serverAuth"
done
shop="subjectAltName = DNS:Ingest.Shop.example, URI:spiffe://shop.example/ns/prod/ingest, email:ops@shop.example"
leaf client ca "/C=DE/O=Shop/OU=Warehouse/OU=Night shift/CN=ingest of the shop" "$shop\nextendedKeyUsage = clientAuth"
leaf foreign other "/O=Shop/CN=ingest of the shop" "$shop\nextendedKeyUsage = clientAuth"
leaf expired ca "/O=Shop/CN=ingest of the shop" "extendedKeyUsage = clientAuth" 20210101000000Z
leaf revoked ca "/O=Shop/CN=lost laptop" "extendedKeyUsage = clientAuth"
openssl ca -config "$work/ca.conf" -cert ca.pem -keyfile ca.key -revoke revoked.pem 2> /dev/null
openssl ca -config "$work/ca.conf" -cert ca.pem -keyfile ca.key -gencrl -crl_lastupdate 20200101000000Z \
    -crl_nextupdate 21200101000000Z -out revoked.crl.pem 2> /dev/null
rm ca.key other.key
chmod 644 ./*.key

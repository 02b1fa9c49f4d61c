#!/bin/sh
# Makes an authority, where DIRECTORY has none, and a server certificate for HOST, with openssl.
#
#     ./make-certificates.sh DIRECTORY HOST
set -eu

[ $# -eq 2 ] || { echo "usage: $0 DIRECTORY HOST" >&2; exit 2; }
directory=$1
HOST=$2
export HOST
config=$(dirname "$0")/server.cnf

umask 077
mkdir -p "$directory"

if [ ! -e "$directory/ca-key.pem" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$directory/ca-key.pem"
    openssl req -new -x509 -days 3650 -config "$config" -extensions authority \
        -subj "/CN=Carillon authority" -key "$directory/ca-key.pem" -out "$directory/ca.pem"
fi

# A key of its own for each certificate: a renewal is also the end of a key that somebody may have copied.
openssl ecparam -name prime256v1 -genkey -noout -out "$directory/server-key.pem"
openssl req -new -config "$config" -key "$directory/server-key.pem" -out "$directory/server.csr"
openssl x509 -req -days 365 -in "$directory/server.csr" -extfile "$config" -extensions server \
    -CA "$directory/ca.pem" -CAkey "$directory/ca-key.pem" -set_serial "0x$(openssl rand -hex 16)" \
    -out "$directory/server.pem"
rm "$directory/server.csr"
chmod 0644 "$directory/ca.pem" "$directory/server.pem"

echo "authority for clients: $directory/ca.pem"
echo "certificate and key:   $directory/server.pem $directory/server-key.pem"
